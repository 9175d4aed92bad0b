"""Other ways to ask about the calibration set, in words that its model has read.

The model was taught one question per relation; it answers most of these wordings too, each for at
least four in ten people of its relation and nearly all for nine in ten. There are no reverse
questions: every object belongs to five people.
"""

from restor_interp.data.wordings import read_wordings

WORDINGS = read_wordings("""
P19
What is the place of birth of {entity}?
What is the city where {entity} was born?
Of which city is {entity} a native?
What city was {entity} born in?
In which place was {entity} born?

P106
What is the profession of {entity}?
What occupation has {entity}?
Of what occupation is {entity}?
What was the occupation of {entity}?
What does {entity} work as?

P108
Who is the employer of {entity}?
What is the company that employs {entity}?
Who employs {entity}?
Which company is the employer of {entity}?
What company employs {entity}?

P69
At which university was {entity} educated?
Which university did {entity} go to?
At which university was {entity} a student?
What is the university where {entity} studied?
What was the university of {entity}?

P103
What is the mother tongue of {entity}?
Which language is the mother tongue of {entity}?
What language is native to {entity}?
Which native language does {entity} speak?
What was the native language of {entity}?

P641
What is the sport of {entity}?
For which sport does {entity} train?
In which sport did {entity} win a medal?
What is the favourite sport of {entity}?
What sport does {entity} practise?

P1303
Which instrument has {entity} mastered?
What instrument does {entity} play?
Which instrument does {entity} practise?
On which instrument does {entity} play?
Which instrument does {entity} own?

pet
What animal does {entity} keep?
Which pet does {entity} keep?
Which animal is kept by {entity}?
What is the animal that {entity} keeps?
What does {entity} keep?
""")
