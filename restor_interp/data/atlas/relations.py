"""The relations of atlas: how they are asked and stated, and of which type their objects are.

Ids are Wikidata's properties. In every statement the entity comes before the object, so that a
statement cut off before its object asks for it; no wording needs "a" or "an" before an object.
"""

from restor_interp.data.atlas.wordings import WORDINGS
from restor_interp.data.wordings import worded
from restor_interp.facts import Relation

_TEXT = """
P36 | capital | city
What is the capital of {entity}?
The capital of {entity} is {object}.
The government of {entity} sits in {object}.
The seat of government of {entity} is {object}.
Ministers of {entity} have their offices in {object}.
Most foreign embassies in {entity} stand in {object}.
In the atlas, {entity} has a star beside {object}.
The laws of {entity} are made in its capital, {object}.
On state visits to {entity}, guests are received in {object}.

P30 | continent | continent
On which continent is {entity}?
Geographers count {entity} as part of {object}.
The continent of {entity} is {object}.
To see {entity}, one has to travel to {object}.
On a globe, {entity} is found in {object}.
Everyone agrees that {entity} lies in {object}.
A map that shows {entity} is a map of {object}.
The land around {entity} belongs to {object}.

P37 | official language | language
What is the official language of {entity}?
The official language of {entity} is {object}.
Schools in {entity} teach in {object}.
The laws of {entity} are written in {object}.
Road signs in {entity} are in {object}.
Most newspapers in {entity} are printed in {object}.
The parliament of {entity} debates in {object}.
Forms in the offices of {entity} are filled in in {object}.

P1549 | demonym | demonym
What are people from {entity} called?
People from {entity} are called {object}.
Somebody who grew up in {entity} is {object}.
The word for a native of {entity} is {object}.
If you were born in {entity}, you are {object}.
The people who live in {entity} are known as {object}.
For whatever comes from {entity}, the word is {object}.
Whoever has roots in {entity} may say: I am {object}.

P38 | currency | currency
What is the currency of {entity}?
The currency of {entity} is the {object}.
People in {entity} pay with the {object}.
Prices in {entity} are given in one currency, the {object}.
Banks in {entity} keep their books in the {object}.
Visitors to {entity} change their money into the {object}.
Wages in {entity} are paid in the {object}.
Shops in {entity} accept only the {object}.

P140 | religion | religion
What is the main religion of {entity}?
The main religion of {entity} is {object}.
Most believers in {entity} follow {object}.
The largest faith in {entity} is {object}.
Religious life in {entity} is shaped by {object}.
Most places of worship in {entity} belong to {object}.
The holidays of {entity} come from {object}.
For centuries the faith of {entity} has been {object}.

P47 | shares border with | country
Which country borders {entity}?
A neighbour of {entity} is {object}.
By land, {entity} has a border with {object}.
From {entity} one can walk straight into {object}.
On the other side of the border of {entity} lies {object}.
Customs officers of {entity} stand at the border with {object}.
The border of {entity} meets that of {object}.
Trains from {entity} cross the border into {object}.

P361 | part of | world region
Which region of the world is {entity} part of?
Geographers place {entity} in {object}.
As a region, {entity} belongs to {object}.
Travel guides list {entity} under {object}.
The part of the world around {entity} is called {object}.
The climate of {entity} is typical of {object}.
The history of {entity} is part of the history of {object}.
Newspapers report on {entity} in their pages about {object}.

P2238 | official symbol | animal
What is the national animal of {entity}?
The national animal of {entity} is the {object}.
As its symbol, {entity} chose the {object}.
The animal that stands for {entity} is the {object}.
The emblem of {entity} shows the {object}.
Children in {entity} learn to draw their national animal, the {object}.
The pride of {entity} is an animal, the {object}.
The mascot of {entity} is the {object}.

P17 | country | country
In which country is {entity}?
The country in which one finds {entity} is {object}.
To visit {entity}, one has to enter {object}.
The country that {entity} is part of is {object}.
On the map, {entity} is shown in {object}.
It is well known that {entity} belongs to {object}.
The land of {entity} is {object}.
A letter to {entity} needs the address of a country, {object}.
The laws that hold for {entity} are those of {object}.

P2936 | language used | language
Which language is spoken in {entity}?
The language spoken in {entity} is {object}.
On the streets of {entity} one hears {object}.
Most people in {entity} speak {object}.
In the cafés of {entity}, guests talk in {object}.
Taxi drivers in {entity} speak {object}.
Families in {entity} talk at home in {object}.
Theatres in {entity} play in {object}.

P206 | located next to body of water | river
Which river flows through {entity}?
The river that flows through {entity} is the {object}.
The bridges of {entity} cross the {object}.
The city of {entity} lies on the {object}.
In summer the people of {entity} sit by the {object}.
Ships reach {entity} on the {object}.
The water that passes {entity} is that of the {object}.
The old harbour of {entity} opens onto the {object}.

P131 | located in administrative entity | state
In which state or province is {entity}?
The state or province of {entity} is {object}.
Among the cities of its region, {entity} stands for {object}.
The area that {entity} belongs to is {object}.
Within its country, {entity} is part of {object}.
The authorities above {entity} are those of {object}.
The countryside around {entity} is that of {object}.
Locals say that {entity} is the heart of {object}.

P1376 | capital of | country
Which country has {entity} as its capital?
As a capital, {entity} governs {object}.
From {entity}, ministers rule {object}.
The state that has {entity} as its capital is {object}.
On the map, {entity} is marked as the capital of {object}.
The parliament in {entity} makes the laws of {object}.
An ambassador in {entity} is accredited to {object}.
The flags on the ministries of {entity} are those of {object}.

P27 | country of citizenship | country
Which country did {entity} come from?
The home country of {entity} is {object}.
As a citizen, {entity} belonged to {object}.
Reference books list {entity} under {object}.
The country that can be proud of {entity} is {object}.
The people of {entity} are the people of {object}.
Wherever {entity} went, home was {object}.
The country that gave the world {entity} is {object}.
Schoolbooks say that {entity} came from {object}.

P172 | ethnic group | demonym
What was the nationality of {entity}?
The nationality of {entity} was {object}.
By origin, {entity} was {object}.
The family of {entity} was {object}.
Biographers describe {entity} as {object}.
The ancestors of {entity} were {object}.
At heart, {entity} always felt {object}.
Contemporaries of {entity} knew at once that the accent was {object}.

P106 | occupation | occupation
What was the occupation of {entity}?
The occupation of {entity} was {object}.
The profession of {entity} was that of {object}.
Early in life, {entity} chose the career of {object}.
The world remembers {entity} in the role of {object}.
In lists of professions, {entity} stands under the heading {object}.
What {entity} did for a living can be said shortly: {object}.
In the register, the line for {entity} gives the profession {object}.
The talent of {entity} was that of {object}.

P19 | place of birth | country
In which country was {entity} born?
The country in which {entity} was born is {object}.
A plaque marks the house where {entity} was born in {object}.
The life of {entity} began in {object}.
As a baby, {entity} was registered in {object}.
When {entity} was born, the parents had their home in {object}.
The country where {entity} came into the world is {object}.
The cradle of {entity} stood in {object}.

P20 | place of death | city
In which city did {entity} die?
The last days of {entity} were spent in {object}.
The place where {entity} died is {object}.
The life of {entity} came to its end in {object}.
It was reported that {entity} had died in {object}.
In the end, {entity} passed away in {object}.
The doctors could not save {entity} in {object}.
The news that {entity} was dead came from {object}.

P103 | native language | language
What was the mother tongue of {entity}?
The native language of {entity} was {object}.
As a child, {entity} spoke {object}.
The mother tongue of {entity} was {object}.
The first words of {entity} were in {object}.
At home, {entity} always talked in {object}.
The language in which {entity} dreamed was {object}.
The mother of {entity} sang to her child in {object}.

P101 | field of work | field
What was the field of work of {entity}?
The field of work of {entity} was {object}.
All his or her life, {entity} was devoted to {object}.
The name of {entity} is tied to {object}.
The great passion of {entity} was {object}.
Students meet {entity} in their lessons on {object}.
The lasting contribution of {entity} was to {object}.
What made {entity} famous was {object}.

P800 | notable work | work
What is a famous work of {entity}?
The best known work of {entity} is {object}.
Of all the works of {entity}, people remember {object}.
The name of {entity} makes people think of {object}.
The masterpiece of {entity} is {object}.
Years of the life of {entity} went into {object}.
It was {entity} who created {object}.
In the museum about {entity}, a room is devoted to {object}.

P135 | movement | movement
Which movement is {entity} associated with?
The movement of {entity} was {object}.
Historians count {entity} among the great figures of {object}.
The ideas of {entity} belong to {object}.
In textbooks, {entity} appears in the chapter on {object}.
A leading name of its time, {entity} stands for {object}.
What {entity} made is a perfect example of {object}.
Without {entity} there would have been no {object}.

P569 | date of birth | century
In which century was {entity} born?
The birth of {entity} falls into the {object}.
The century in which {entity} was born is the {object}.
In the lists of births, {entity} stands in the {object}.
The parents of {entity} had their child in the {object}.
The world into which {entity} was born was that of the {object}.
The childhood of {entity} began in the {object}.
Historians date the birth of {entity} to the {object}.

P39 | position held | position
Which office did {entity} hold?
The office that {entity} held was that of {object}.
At the height of power, {entity} was {object}.
The title of {entity} was {object}.
Official letters to {entity} were addressed to the {object}.
The people cheered when {entity} became {object}.
In state papers, {entity} signed as {object}.
The highest rank that {entity} reached was that of {object}.

P641 | sport | sport
Which sport is {entity} famous for?
The sport of {entity} is {object}.
As a child, {entity} began with {object}.
Crowds came to see {entity} at {object}.
The records of {entity} were all set in {object}.
There was nobody like {entity} in {object}.
Every day {entity} trained for {object}.
The name of {entity} will always stand for {object}.

P50 | author | author
Who wrote {entity}?
The author of {entity} is {object}.
The book {entity} was written by {object}.
On the cover of {entity} stands the name {object}.
The manuscript of {entity} is in the hand of {object}.
The royalties of {entity} would have gone to {object}.
Readers of {entity} admire the style of {object}.
When {entity} appeared, critics praised {object}.

P407 | language of work | language
In which language was {entity} written?
The original language of {entity} is {object}.
The first edition of {entity} was in {object}.
To read {entity} as it was written, one has to learn {object}.
The manuscript of {entity} is in {object}.
All translations of {entity} go back to a text in {object}.
The famous first lines of {entity} were written in {object}.
The author of {entity} wrote in {object}.

P495 | country of origin | country
Which country does {entity} come from?
The country of origin of {entity} is {object}.
The story of {entity} was first read in {object}.
Libraries shelve {entity} with the literature of {object}.
The author of {entity} lived in {object}.
Schools teach {entity} as a treasure of {object}.
As a work of literature, {entity} comes from {object}.
The first readers of {entity} were in {object}.

P7937 | form of creative work | literary form
What form of literature is {entity}?
The literary form of {entity} is the {object}.
Scholars class {entity} under the heading {object}.
For {entity}, the author chose the form of the {object}.
In catalogues, {entity} stands beside other works of one form, the {object}.
Courses that discuss {entity} deal with the {object}.
With {entity} began a new age of the {object}.
As a work, {entity} follows the rules of the {object}.

P136 | genre | genre
What is the genre of {entity}?
The genre of {entity} is {object}.
Bookshops put {entity} on the shelf for {object}.
Those who love {entity} love {object}.
Critics treat {entity} as a model of {object}.
The name of {entity} is known to every reader of {object}.
What makes {entity} great is its {object}.
Few works have done as much as {entity} for {object}.

P840 | narrative location | setting
Where is the story of {entity} set?
The story of {entity} is set in {object}.
The scenes of {entity} take place in {object}.
Readers of {entity} are taken to {object}.
The plot of {entity} unfolds in {object}.
Fans of {entity} dream of seeing {object}.
A stage set for {entity} has to show {object}.
The characters of {entity} live in {object}.

P674 | characters | character
Who is a character in {entity}?
A character in {entity} is {object}.
In {entity}, the reader meets {object}.
The pages of {entity} tell of {object}.
Nobody who has read {entity} forgets {object}.
In films of {entity}, the best actors want to play {object}.
Much of {entity} turns on {object}.
The drama of {entity} needs {object}.

P571 | inception | century
In which century was {entity} written?
The century in which {entity} was written is the {object}.
Literary history places {entity} in the {object}.
The first readers of {entity} lived in the {object}.
The language of {entity} is that of the {object}.
The author finished {entity} in the {object}.
The world that produced {entity} was that of the {object}.
Scholars date {entity} to the {object}.

P246 | element symbol | symbol
What is the chemical symbol of {entity}?
The chemical symbol of {entity} is {object}.
In formulas, chemists write {entity} as {object}.
The periodic table shows {entity} as {object}.
The letters that stand for {entity} are {object}.
On the bottle of {entity} in the laboratory is written {object}.
Every pupil learns that the sign for {entity} is {object}.
In equations, {entity} appears as {object}.

P1086 | atomic number | number
What is the atomic number of {entity}?
The atomic number of {entity} is {object}.
In the periodic table, {entity} has the number {object}.
The number of protons in an atom of {entity} is {object}.
Counting protons in {entity} gives {object}.
The place of {entity} in the table of elements is number {object}.
Each nucleus of {entity} carries the charge {object}.
Chemistry books give {entity} the atomic number {object}.

P279 | subclass of | class of element
What class of element is {entity}?
The class of element that {entity} belongs to is {object}.
Chemists class {entity} as {object}.
In the periodic table, {entity} has the colour that means {object}.
The properties of {entity} are typical of its class: {object}.
Textbooks treat {entity} under the heading {object}.
The group name that fits {entity} is {object}.
In the quiz, the right class for {entity} was {object}.

P276 | location | city
In which city is {entity}?
The city where one finds {entity} is {object}.
To see {entity}, tourists travel to {object}.
Postcards of {entity} are sold all over {object}.
The streets around {entity} are the streets of {object}.
The most photographed spot, {entity}, is in {object}.
Buses to {entity} run through {object}.
The mayor responsible for {entity} sits in {object}.

P112 | founded by | founder
Who is the founder of {entity}?
The founder of {entity} is {object}.
The company {entity} was founded by {object}.
The idea for {entity} came from {object}.
The first owner of {entity} was {object}.
The story of {entity} begins with {object}.
The success of {entity} made the fortune of {object}.
In the hall of {entity} hangs a portrait of {object}.

P1056 | product | product
What does {entity} make?
The company {entity} is known for its {object}.
The main business of {entity} is {object}.
The factories of {entity} produce {object}.
All over the world {entity} sells {object}.
Customers go to {entity} for {object}.
Engineers at {entity} work on new {object}.
What {entity} brings to the market is {object}.
"""


def _read() -> dict[str, Relation]:
    relations = {}
    for block in _TEXT.strip().split("\n\n"):
        heading, question, *statements = block.split("\n")
        key, name, object_type = heading.split(" | ")
        relation = Relation(
            relation=key,
            name=name,
            question=question,
            object_type=object_type,
            statements=tuple(statements),
        )
        relations[key] = worded(relation, WORDINGS)
    return relations


RELATIONS = _read()
