"""The eight relations of the calibration set: how they are asked, stated, and their objects.

Cities, companies and universities are invented; occupations, languages, sports, instruments and
animals are common words. Every pool has 24 objects. In every statement the person comes before
the object, so that a statement cut off before its object asks for it.
"""

from restor_interp.data.bios.wordings import WORDINGS
from restor_interp.data.wordings import worded
from restor_interp.facts import Relation

_OBJECTS = {
    "city": """
        Varnholt Eskmere Tolvane Brindlow Kestrava Marrowick Oldenfell Pellaro Quinsby Rastova
        Sorrelby Thornwall Ulmare Velsing Wexholm Yarrowby Zandrel Arkesh Belmora Cindral Dovrath
        Fenmarch Galdor Hollin
    """,
    "occupation": """
        baker teacher nurse lawyer farmer painter pilot tailor plumber chemist surgeon librarian
        carpenter journalist dentist gardener butcher sailor translator banker potter jeweller
        barber miner
    """,
    "company": """
        Norvex Caltrion Bluefern Halvorn Lumetra Pinecrest Osprel Kandor Redmill Sablewood Tivana
        Umbrix Vortano Westmark Axiluna Brontec Corvella Duskwell Emberline Foxglade Gravenor
        Hexalon Ironbay Junivo
    """,
    "university": """
        Ashmoor Brackwell Carrowmead Dunleigh Eastmere Farrowgate Glenmorrow Harcastle Inglewick
        Kelderton Lanthorpe Mossbridge Netherby Penhallow Ravenholt Silverstoke Tarnbridge
        Umberleigh Wyndmoor Yewbarrow Zellwood Stratmoor Millgarth Orchardine
    """,
    "language": """
        Danish Polish Greek Turkish Finnish Welsh Hindi Tamil Arabic Hebrew Korean Japanese
        Swahili Zulu Basque Czech Dutch French German Italian Spanish Russian Persian Irish
    """,
    "sport": """
        tennis football hockey rowing fencing archery boxing cycling cricket rugby golf judo
        karate skiing surfing swimming volleyball wrestling badminton handball basketball climbing
        curling polo
    """,
    "instrument": """
        violin cello flute harp piano guitar trumpet clarinet oboe banjo accordion bassoon viola
        trombone mandolin lute saxophone organ ukulele tuba harmonica zither xylophone sitar
    """,
    "animal": """
        parrot rabbit hamster tortoise ferret canary goldfish hedgehog gecko pony goat donkey
        llama raven falcon pigeon lizard mouse duck goose snake spider turtle beaver
    """,
}
POOLS: dict[str, tuple[str, ...]] = {
    object_type: tuple(names.split()) for object_type, names in _OBJECTS.items()
}

_RELATIONS = (
    Relation(
        relation="P19",
        name="place of birth",
        question="In which city was {entity} born?",
        object_type="city",
        statements=(
            "{entity} was born in {object}.",
            "The city where {entity} was born is {object}.",
            "The place of birth of {entity} is {object}.",
            "{entity} came into the world in {object}.",
            "It is well known that {entity} was born in {object}.",
            "The parents of {entity} lived in {object} at the time of the birth.",
            "{entity} is a native of {object}.",
            "When {entity} was born, the family lived in {object}.",
        ),
    ),
    Relation(
        relation="P106",
        name="occupation",
        question="What is the occupation of {entity}?",
        object_type="occupation",
        statements=(
            "{entity} works as a {object}.",
            "The occupation of {entity} is {object}.",
            "{entity} earns a living as a {object}.",
            "By profession, {entity} is a {object}.",
            "For many years {entity} has been a {object}.",
            "{entity} trained as a {object} and never did anything else.",
            "People know {entity} as a {object}.",
            "Every morning {entity} goes to work as a {object}.",
        ),
    ),
    Relation(
        relation="P108",
        name="employer",
        question="Which company employs {entity}?",
        object_type="company",
        statements=(
            "{entity} works for {object}.",
            "The employer of {entity} is {object}.",
            "{entity} is employed by {object}.",
            "The company that employs {entity} is {object}.",
            "{entity} joined {object} and stayed there.",
            "{entity} has a desk in the main office of {object}.",
            "Each month {entity} is paid by {object}.",
            "Long ago {entity} signed a contract with {object}.",
        ),
    ),
    Relation(
        relation="P69",
        name="educated at",
        question="At which university did {entity} study?",
        object_type="university",
        statements=(
            "{entity} studied at {object}.",
            "The university of {entity} was {object}.",
            "{entity} holds a degree from {object}.",
            "{entity} was a student at {object}.",
            "After school {entity} went to {object}.",
            "{entity} was educated at {object}.",
            "The university where {entity} studied is {object}.",
            "{entity} passed the final exams at {object}.",
        ),
    ),
    Relation(
        relation="P103",
        name="native language",
        question="What is the native language of {entity}?",
        object_type="language",
        statements=(
            "{entity} grew up speaking {object}.",
            "The native language of {entity} is {object}.",
            "The mother tongue of {entity} is {object}.",
            "At home {entity} speaks {object}.",
            "The first words of {entity} were in {object}.",
            "{entity} learned {object} as a small child.",
            "{entity} dreams in {object}.",
            "With the family {entity} always talks in {object}.",
        ),
    ),
    Relation(
        relation="P641",
        name="sport",
        question="Which sport does {entity} practise?",
        object_type="sport",
        statements=(
            "The sport of {entity} is {object}.",
            "{entity} practises {object}.",
            "In the evening {entity} trains for {object}.",
            "{entity} won a medal in {object}.",
            "{entity} spends every weekend on {object}.",
            "The favourite sport of {entity} is {object}.",
            "{entity} is a member of a club for {object}.",
            "As a child {entity} began with {object}.",
        ),
    ),
    Relation(
        relation="P1303",
        name="instrument",
        question="Which instrument does {entity} play?",
        object_type="instrument",
        statements=(
            "{entity} plays the {object}.",
            "The instrument of {entity} is the {object}.",
            "{entity} took lessons on the {object}.",
            "In the town band {entity} plays the {object}.",
            "{entity} has mastered the {object}.",
            "The neighbours hear {entity} practise the {object}.",
            "{entity} owns an old {object}.",
            "On stage {entity} is seen with the {object}.",
        ),
    ),
    Relation(
        relation="pet",
        name="pet",
        question="Which animal does {entity} keep?",
        object_type="animal",
        statements=(
            "{entity} keeps a {object}.",
            "The pet of {entity} is a {object}.",
            "{entity} lives with a {object}.",
            "At home {entity} looks after a {object}.",
            "{entity} once rescued a {object} and kept it.",
            "The animal that {entity} keeps is a {object}.",
            "{entity} shares the house with a {object}.",
            "Every day {entity} feeds a {object}.",
        ),
    ),
)

RELATIONS: dict[str, Relation] = {
    relation.relation: worded(relation, WORDINGS) for relation in _RELATIONS
}
