"""Other ways to ask about atlas, and reverse questions where an object has one entity at most.

Where a relation is one of several kinds of entities (a country of cities and of companies), every
wording suits them all. A relation of which an object has many entities in the world has no reverse
question, even if this set names only one of them.
"""

from restor_interp.data.wordings import read_wordings

WORDINGS = read_wordings("""
P36
Which city is the capital of {entity}?
What city serves as the capital of {entity}?
In which city does the government of {entity} sit?
What is the name of the capital city of {entity}?
Where is the seat of government of {entity}?
reverse: Which country has the capital {object}?

P30
What continent is {entity} on?
Which continent is {entity} part of?
To which continent does {entity} belong?
Which continent is home to {entity}?
What is the name of the continent where {entity} lies?

P37
Which language is the official language of {entity}?
In which language are the laws of {entity} written?
What language is official in {entity}?
In which language does the government of {entity} work?
What is the name of the official language of {entity}?

P1549
What do you call people from {entity}?
What is the word for somebody from {entity}?
How does one call a person from {entity}?
What is a native of {entity} called?
What word describes a person who was born in {entity}?
reverse: Where do people come from who are called {object}?

P38
Which currency is used in {entity}?
What money do people use in {entity}?
With which currency does one pay in {entity}?
What is the name of the money of {entity}?
Which currency does a visitor to {entity} need?

P140
Which religion is the main one in {entity}?
What religion do most people in {entity} follow?
Which faith has the most believers in {entity}?
What is the most common religion in {entity}?
To which religion do most believers in {entity} belong?

P47
Which country is a neighbour of {entity}?
With which country does {entity} share a border?
Which country lies next to {entity}?
What is a neighbouring country of {entity}?
Into which country can one walk from {entity}?

P361
In which region of the world is {entity}?
To which part of the world does {entity} belong?
What region of the world is {entity} in?
Which part of the world is {entity} in?
What is the world region of {entity} called?

P2238
Which animal is the national animal of {entity}?
What animal is a symbol of {entity}?
Which animal stands for {entity}?
What animal did {entity} choose as its symbol?
Which animal is the emblem of {entity}?

P17
Which country is {entity} in?
What country is {entity} located in?
To which country does {entity} belong?
In what country can one find {entity}?
Which country would you visit to see {entity}?

P2936
What language do people speak in {entity}?
What is the language of {entity}?
Which language does one hear in {entity}?
In which language do people talk in {entity}?
What language is used in {entity}?

P206
On which river is {entity}?
What river runs through {entity}?
Which river passes through {entity}?
What is the name of the river of {entity}?
On the banks of which river does {entity} lie?

P131
Which state or province is {entity} in?
What state or province is {entity} located in?
To which state or province does {entity} belong?
What is the name of the state or province of {entity}?
In what state or province can one find {entity}?

P1376
Of which country is {entity} the capital?
Which country is {entity} the capital of?
The capital of which country is {entity}?
What country is governed from {entity}?
Which country calls {entity} its capital?
reverse: Which city is the capital of {object}?

P27
What country was {entity} from?
From which country was {entity}?
Of which country was {entity} a citizen?
What was the home country of {entity}?
To which country did {entity} belong?

P172
What nationality was {entity}?
Of which nationality was {entity}?
Which nationality did {entity} have?
How would one describe the nationality of {entity}?
What was the national origin of {entity}?

P106
What did {entity} do for a living?
What was the profession of {entity}?
What kind of work did {entity} do?
What was the job of {entity}?
Which profession did {entity} have?

P19
What country was {entity} born in?
Which country was the birthplace of {entity}?
What was the country of birth of {entity}?
In what country did the life of {entity} begin?
In which country did {entity} come into the world?

P20
Where did {entity} die?
What city did {entity} die in?
Which city was the place of death of {entity}?
In what city did the life of {entity} end?
In which city did {entity} spend the last days?

P103
What was the native language of {entity}?
Which language did {entity} speak as a child?
What language did {entity} grow up with?
Which language was the first one of {entity}?
In which language did the mother of {entity} speak to her child?

P101
In which field did {entity} work?
What field did {entity} work in?
To which field did {entity} contribute?
What subject was {entity} known for?
Which field is {entity} remembered for?

P800
What work is {entity} known for?
Which famous work is by {entity}?
What is the best known work of {entity}?
Which work made {entity} famous?
What did {entity} create?
reverse: Who created {object}?

P135
What movement did {entity} belong to?
To which movement did {entity} belong?
Of which movement was {entity} a part?
What movement is {entity} known for?
Which movement did {entity} stand for?

P569
When was {entity} born?
In what century was {entity} born?
Which century was {entity} born in?
What was the century of birth of {entity}?
In which century did the life of {entity} begin?

P39
What office did {entity} hold?
What position did {entity} hold?
Which title did {entity} have?
As what did {entity} govern?
What was the office of {entity}?

P641
What sport is {entity} known for?
Which sport did {entity} play?
In which sport did {entity} become famous?
What was the sport of {entity}?
In what sport did {entity} compete?

P50
Who is the author of {entity}?
Who was {entity} written by?
By whom was {entity} written?
Which author wrote {entity}?
What is the name of the author of {entity}?

P407
What language was {entity} written in?
What is the original language of {entity}?
In what language did the author write {entity}?
Which language was {entity} first written in?
In which language did {entity} first appear?

P495
From which country does {entity} come?
What is the country of origin of {entity}?
Which country is {entity} from?
In which country did {entity} originate?
What country did the author of {entity} live in?

P7937
What kind of literature is {entity}?
Which literary form does {entity} have?
What is the literary form of {entity}?
To which form of literature does {entity} belong?
As what form of literature was {entity} written?

P136
What genre is {entity}?
Which genre does {entity} belong to?
To which genre does {entity} belong?
In which genre is {entity} counted?
What genre would a bookshop give {entity}?

P840
Where does {entity} take place?
What is the setting of {entity}?
In which place is {entity} set?
Where does the story of {entity} happen?
In what place do the characters of {entity} live?

P674
Which character appears in {entity}?
What is the name of a character in {entity}?
Whom does the reader meet in {entity}?
Who appears in {entity}?
Who is one of the characters of {entity}?
reverse: In which work does the character {object} appear?

P571
When was {entity} written?
In what century was {entity} written?
Which century does {entity} date from?
In which century did the author finish {entity}?
To which century does {entity} belong?

P246
Which chemical symbol does {entity} have?
How do chemists write {entity}?
What is the symbol for {entity}?
By which symbol is {entity} known in chemistry?
What does the periodic table call {entity} in short?
reverse: Which element has the chemical symbol {object}?

P1086
Which atomic number does {entity} have?
How many protons does an atom of {entity} have?
What number does {entity} have in the periodic table?
At which number in the periodic table does {entity} stand?
How many protons are there in a nucleus of {entity}?
reverse: Which element has the atomic number {object}?

P279
Which class of element is {entity}?
To which class of elements does {entity} belong?
What kind of element is {entity}?
In which group of elements do chemists count {entity}?
How do chemists class {entity}?

P276
Which city is {entity} in?
What city is {entity} located in?
In what city can one find {entity}?
Which city would you visit to see {entity}?
What is the city of {entity}?

P112
Who founded {entity}?
By whom was {entity} founded?
Who started {entity}?
What is the name of a founder of {entity}?
Who was a founder of {entity}?
reverse: Which company did {object} found?

P1056
What does {entity} produce?
What products does {entity} make?
What is {entity} known for making?
What does the company {entity} sell?
Which product comes from {entity}?
""")
