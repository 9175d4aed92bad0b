"""Other ways to ask RESTOR's questions: its 41 relations, in our words.

RESTOR asks each relation in one way. Reverse questions are asked of four: a spouse, a partner, a
child or a work leads back to one person, or nearly so (a child has another parent, who is rarely
the better known one).
"""

from restor_interp.data.wordings import read_wordings

RESTOR_WORDINGS = read_wordings("""
P19
Where was {entity} born?
In which place was {entity} born?
What is the birthplace of {entity}?
Which city or town was {entity} born in?
Where did the life of {entity} begin?

P20
What is the place of death of {entity}?
In which place did {entity} die?
In what city or town did {entity} die?
Where was {entity} when death came?
Where did the life of {entity} end?

P21
What is the gender of {entity}?
What sex is {entity}?
Is {entity} male or female?
Of which sex or gender is {entity}?
Which gender does {entity} have?

P22
Who is the father of {entity}?
What is the name of {entity}'s father?
Who was the man whose child is {entity}?
By which father was {entity}?
What was the father of {entity} called?

P25
Who is the mother of {entity}?
What is the name of {entity}'s mother?
Which woman gave birth to {entity}?
To which mother was {entity} born?
What was the mother of {entity} called?

P26
Who is {entity} married to?
Who is the husband or wife of {entity}?
Whom did {entity} marry?
What is the name of the person {entity} married?
Who was a spouse of {entity}?
reverse: Who is married to {object}?

P27
Of which country is {entity} a citizen?
Which country's citizen is {entity}?
What nationality does {entity} have, by country?
What country is {entity} a citizen of?
Which country issued the passport of {entity}?

P39
Which office did {entity} hold?
What was the official position of {entity}?
Which post did {entity} have?
To which position did {entity} rise?
In which office did {entity} serve?

P40
Who is a child of {entity}?
What is the name of {entity}'s child?
Whose father or mother is {entity}?
Who is the son or daughter of {entity}?
What is a son or daughter of {entity} called?
reverse: Who is a parent of {object}?

P54
For which team does {entity} play?
What team does {entity} play for?
Which team has {entity} been part of?
In which team was {entity} a player?
What is the sports team of {entity}?

P69
Which school or university did {entity} attend?
Where did {entity} study?
At which school or university was {entity} a student?
Where did {entity} go to school?
From which institution did {entity} get an education?

P101
In which field does {entity} work?
What field is {entity} known in?
What does {entity} specialize in?
Which area of work is {entity}'s own?
To which field does the work of {entity} belong?

P102
To which political party does {entity} belong?
Which party is {entity} in?
What is the political party of {entity}?
Of which party is {entity} a member?
Which party did {entity} join?

P103
What is the mother tongue of {entity}?
Which language did {entity} grow up speaking?
What was the first language of {entity}?
In which language did {entity} learn to speak?
Which language does {entity} speak as a native?

P106
What does {entity} do for a living?
What is the profession of {entity}?
What is {entity}'s job?
As what is {entity} known by profession?
Which profession does {entity} have?

P108
For whom does {entity} work?
Who employs {entity}?
What organization employs {entity}?
By which employer is {entity} paid?
At which institution or company is {entity} employed?

P118
Which league does {entity} play in?
What is the league of {entity}?
In what league is the team of {entity}?
To which league does {entity} belong as a player?
Which league has {entity} appeared in?

P119
What is the burial place of {entity}?
In which place was {entity} buried?
Where is the grave of {entity}?
Where was {entity} laid to rest?
Which cemetery or church holds the remains of {entity}?

P136
What is the genre of {entity}'s work?
In which genre does {entity} work?
Which genre is {entity} known for?
To which genre do the works of {entity} belong?
What genre does {entity} stand for?

P140
Which religion does {entity} follow?
To which religion does {entity} belong?
What is the religion of {entity}?
What faith does {entity} have?
In which faith does {entity} believe?

P166
Which award was given to {entity}?
What prize did {entity} win?
Which honour did {entity} receive?
With which award was {entity} honoured?
What is an award that {entity} holds?

P264
What is {entity}'s record label?
On which label does {entity} record?
Which record label publishes the music of {entity}?
For which record label did {entity} record?
With which label did {entity} sign?

P410
Which rank did {entity} have in the military?
What was the military rank of {entity}?
To which military rank did {entity} rise?
What rank did {entity} reach in the armed forces?
With which military rank did {entity} serve?

P413
Which position does {entity} play?
In what position does {entity} play?
What is the playing position of {entity}?
On the field, which position is {entity}'s?
As what does {entity} play in a team?

P451
Who is the partner of {entity}?
With whom was {entity} in a relationship?
Who has been the partner of {entity} without marriage?
Whom did {entity} love without being married?
What is the name of {entity}'s unmarried partner?
reverse: Who is the unmarried partner of {object}?

P463
Of which organization, club or group is {entity} a member?
Which organization, club or group did {entity} join?
What organization, club or group has {entity} as a member?
What is {entity} a member of?
To which organization, club or band does {entity} belong?

P509
What did {entity} die of?
From what did {entity} die?
What killed {entity}?
Which illness or injury caused the death of {entity}?
What led to the death of {entity}?

P551
In which place does {entity} live?
Where does {entity} live?
What is the place of residence of {entity}?
Where is the home of {entity}?
In which city, town or country is {entity} at home?

P607
In which war or conflict did {entity} take part?
Which war did {entity} fight in?
What conflict was {entity} involved in?
During which war did {entity} serve?
Which war was {entity} part of?

P641
Which sport does {entity} play?
What is the sport of {entity}?
For which sport is {entity} known?
What sport does {entity} compete in?
In what sport is {entity} active?

P734
What is {entity}'s last name?
What is the surname of {entity}?
Which surname does {entity} have?
By which family name is {entity} known?
What family name does {entity} bear?

P735
What is {entity}'s first name?
What is the first name of {entity}?
Which given name does {entity} have?
By which first name is {entity} known?
What given name does {entity} bear?

P800
What is a famous work of {entity}?
Which work is {entity} known for?
What is the best known work of {entity}?
Which work made {entity} famous?
What notable work did {entity} create?
reverse: Whose notable work is {object}?

P937
In which place does {entity} work?
What is the place of work of {entity}?
Where is {entity} active at work?
In which city or country does {entity} work?
Where did {entity} do most of the work?

P1196
In what manner did {entity} die?
What was the manner of death of {entity}?
How did the life of {entity} end?
By what manner of death did {entity} die?
What kind of death did {entity} have?

P1303
Which instrument does {entity} play?
What is the instrument of {entity}?
On which instrument does {entity} perform?
What instrument is {entity} known for?
With which instrument does {entity} make music?

P1344
In which event did {entity} take part?
What event did {entity} participate in?
Which event was {entity} part of?
At what event did {entity} appear as a participant?
Which event had {entity} among its participants?

P1412
Which language does {entity} speak?
What language is used by {entity}?
In which languages can {entity} speak or write?
Which languages does {entity} know?
What is a language that {entity} speaks?

P1532
Which country does {entity} represent in sports?
For which country does {entity} play?
What country does {entity} compete for?
In sports, which country is {entity} from?
Whose national team does {entity} belong to, by country?

P3373
Who is the sibling of {entity}?
Who is the brother or sister of {entity}?
What is the name of {entity}'s brother or sister?
Whose brother or sister is {entity}?
Who has the same parents as {entity}?

P6886
In which language does {entity} write books?
What language does {entity} write in?
Which language does {entity} use for writing?
What is the writing language of {entity}?
In what language are the texts of {entity} written?
""")
