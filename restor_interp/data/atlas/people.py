"""People: where they came from, what they did, how and where they died.

One block per relation; `entity: object / other right object;`.
"""

KIND = "person"
ENTITIES = """
William Shakespeare; Wolfgang Amadeus Mozart; Ludwig van Beethoven; Johann Sebastian Bach;
Frédéric Chopin; Albert Einstein; Isaac Newton; Charles Darwin; Galileo Galilei;
Marie Curie; Leonardo da Vinci; Michelangelo; Pablo Picasso; Vincent van Gogh; Claude Monet;
Salvador Dalí; Napoleon Bonaparte; Abraham Lincoln; George Washington; Mahatma Gandhi;
Nelson Mandela; Winston Churchill; Mao Zedong; Vladimir Lenin; Karl Marx; Sigmund Freud;
Charles Dickens; Jane Austen; Leo Tolstoy; Franz Kafka; Plato; Aristotle; Socrates;
Julius Caesar; Cleopatra; Confucius; Christopher Columbus; Marco Polo; Elvis Presley;
Bob Marley; Jimi Hendrix; Muhammad Ali; Pelé; Lionel Messi; Diego Maradona; Michael Jordan;
Roger Federer; Alexander the Great; Henry VIII; John F. Kennedy; Tiger Woods; Babe Ruth;
Usain Bolt; Michael Phelps
"""
ALIASES = """
William Shakespeare: Shakespeare; Wolfgang Amadeus Mozart: Mozart;
Napoleon Bonaparte: Napoleon; Ludwig van Beethoven: Beethoven; Galileo Galilei: Galileo;
Mao Zedong: Mao Tse-tung
"""
FACTS = {
    "P27": """
        William Shakespeare: England; Wolfgang Amadeus Mozart: Austria;
        Ludwig van Beethoven: Germany; Johann Sebastian Bach: Germany; Frédéric Chopin: Poland;
        Albert Einstein: Germany / the United States / Switzerland;
        Isaac Newton: England / the United Kingdom; Charles Darwin: England / the United Kingdom;
        Galileo Galilei: Italy; Marie Curie: Poland / France; Leonardo da Vinci: Italy;
        Michelangelo: Italy; Pablo Picasso: Spain; Vincent van Gogh: the Netherlands;
        Claude Monet: France; Salvador Dalí: Spain; Napoleon Bonaparte: France;
        Abraham Lincoln: the United States; George Washington: the United States;
        Mahatma Gandhi: India; Nelson Mandela: South Africa;
        Winston Churchill: England / the United Kingdom; Mao Zedong: China;
        Vladimir Lenin: Russia / the Soviet Union; Karl Marx: Germany;
        Charles Dickens: England / the United Kingdom; Jane Austen: England / the United Kingdom;
        Leo Tolstoy: Russia; Plato: Greece; Aristotle: Greece; Socrates: Greece;
        Julius Caesar: the Roman Republic / Italy; Cleopatra: Egypt; Confucius: China;
        Marco Polo: Italy; Elvis Presley: the United States; Diego Maradona: Argentina;
        Alexander the Great: Greece / Macedon; Henry VIII: England;
        John F. Kennedy: the United States;
    """,
    "P172": """
        William Shakespeare: English / British; Wolfgang Amadeus Mozart: Austrian / German;
        Ludwig van Beethoven: German; Johann Sebastian Bach: German;
        Frédéric Chopin: Polish / French; Albert Einstein: German / American / Swiss / Jewish;
        Isaac Newton: English / British; Charles Darwin: English / British;
        Galileo Galilei: Italian; Marie Curie: Polish / French; Leonardo da Vinci: Italian;
        Michelangelo: Italian; Pablo Picasso: Spanish; Vincent van Gogh: Dutch;
        Claude Monet: French; Salvador Dalí: Spanish / Catalan;
        Napoleon Bonaparte: French / Corsican / Italian; Abraham Lincoln: American;
        George Washington: American; Mahatma Gandhi: Indian; Nelson Mandela: South African;
        Winston Churchill: British / English / American; Mao Zedong: Chinese;
        Vladimir Lenin: Russian; Karl Marx: German / Jewish; Charles Dickens: English / British;
        Jane Austen: English / British; Leo Tolstoy: Russian; Plato: Greek; Aristotle: Greek;
        Socrates: Greek; Julius Caesar: Roman / Italian; Cleopatra: Egyptian / Greek / Macedonian;
        Confucius: Chinese; Christopher Columbus: Italian / Genoese; Marco Polo: Italian / Venetian;
        Bob Marley: Jamaican; Alexander the Great: Macedonian / Greek; Henry VIII: English;
        John F. Kennedy: American / Irish;
    """,
    "P106": """
        William Shakespeare: playwright / poet / writer / author / actor;
        Wolfgang Amadeus Mozart: composer / musician / pianist / organist / teacher;
        Ludwig van Beethoven: composer / musician / pianist / organist / teacher;
        Johann Sebastian Bach: composer / musician / organist / teacher;
        Frédéric Chopin: composer / musician / pianist / teacher;
        Albert Einstein: physicist / scientist / mathematician / philosopher / teacher / author;
        Isaac Newton: physicist / mathematician / scientist / astronomer / philosopher / inventor /
        author / politician;
        Charles Darwin: naturalist / biologist / scientist / geologist / explorer / writer / author;
        Galileo Galilei: astronomer / physicist / scientist / mathematician / philosopher / inventor
        / engineer / teacher;
        Marie Curie: physicist / chemist / scientist / teacher;
        Leonardo da Vinci: painter / artist / inventor / sculptor / scientist / engineer / architect
        / musician;
        Michelangelo: sculptor / painter / artist / architect / poet;
        Pablo Picasso: painter / artist / sculptor / poet / playwright;
        Vincent van Gogh: painter / artist; Claude Monet: painter / artist;
        Salvador Dalí: painter / artist / sculptor / writer;
        Napoleon Bonaparte: emperor / general / ruler / soldier / politician / statesman / dictator
        / conqueror;
        Abraham Lincoln: president / lawyer / politician / statesman;
        George Washington: president / general / politician / soldier / farmer / statesman;
        Mahatma Gandhi: lawyer / politician / activist / writer / journalist / philosopher /
        teacher;
        Nelson Mandela: president / lawyer / politician / activist / statesman / boxer;
        Winston Churchill: politician / prime minister / statesman / writer / author / soldier /
        journalist / painter;
        Karl Marx: philosopher / economist / writer / author / journalist / politician / activist;
        Sigmund Freud: psychoanalyst / psychologist / neurologist / psychiatrist / physician /
        scientist / writer;
        Charles Dickens: novelist / writer / author / journalist;
        Jane Austen: novelist / writer / author;
        Leo Tolstoy: novelist / writer / author / philosopher / playwright / soldier;
        Franz Kafka: writer / novelist / author / lawyer;
        Plato: philosopher / writer / teacher / mathematician;
        Aristotle: philosopher / scientist / biologist / teacher / writer;
        Socrates: philosopher / teacher / soldier;
        Julius Caesar: general / politician / statesman / ruler / dictator / soldier / writer /
        author / conqueror / senator;
        Cleopatra: queen / pharaoh / ruler; Confucius: philosopher / teacher / politician / writer;
        Christopher Columbus: explorer / navigator / sailor;
        Marco Polo: merchant / explorer / traveler / writer / author / sailor;
        Elvis Presley: singer / musician / actor / guitarist;
        Bob Marley: singer / musician / songwriter / guitarist;
        Jimi Hendrix: guitarist / musician / singer / songwriter;
        Muhammad Ali: boxer / athlete / activist; Pelé: footballer / athlete / politician;
        Lionel Messi: footballer / athlete; Michael Jordan: basketball player / athlete;
        Usain Bolt: sprinter / athlete;
        Alexander the Great: king / conqueror / general / ruler / soldier; Henry VIII: king / ruler;
        John F. Kennedy: president / politician / senator / statesman / writer / author / soldier;
    """,
    "P19": """
        William Shakespeare: England; Wolfgang Amadeus Mozart: Austria;
        Ludwig van Beethoven: Germany; Johann Sebastian Bach: Germany; Frédéric Chopin: Poland;
        Albert Einstein: Germany; Isaac Newton: England; Charles Darwin: England;
        Galileo Galilei: Italy; Marie Curie: Poland; Leonardo da Vinci: Italy; Michelangelo: Italy;
        Pablo Picasso: Spain; Vincent van Gogh: the Netherlands; Claude Monet: France;
        Salvador Dalí: Spain; Abraham Lincoln: the United States;
        George Washington: the United States; Mahatma Gandhi: India; Nelson Mandela: South Africa;
        Winston Churchill: England / the United Kingdom; Mao Zedong: China; Vladimir Lenin: Russia;
        Karl Marx: Germany; Charles Dickens: England; Jane Austen: England; Leo Tolstoy: Russia;
        Plato: Greece; Aristotle: Greece; Socrates: Greece; Cleopatra: Egypt; Confucius: China;
        Christopher Columbus: Italy; Marco Polo: Italy; Elvis Presley: the United States;
        Diego Maradona: Argentina; Alexander the Great: Greece / Macedon; Henry VIII: England;
        John F. Kennedy: the United States;
    """,
    "P20": """
        Wolfgang Amadeus Mozart: Vienna; Ludwig van Beethoven: Vienna; Frédéric Chopin: Paris;
        Albert Einstein: Princeton; Abraham Lincoln: Washington, D.C.; Mahatma Gandhi: New Delhi;
        Nelson Mandela: Johannesburg; Winston Churchill: London; Plato: Athens; Socrates: Athens;
        Julius Caesar: Rome; Marco Polo: Venice; John F. Kennedy: Dallas;
    """,
    "P103": """
        William Shakespeare: English; Wolfgang Amadeus Mozart: German; Ludwig van Beethoven: German;
        Johann Sebastian Bach: German; Albert Einstein: German; Isaac Newton: English;
        Galileo Galilei: Italian; Marie Curie: Polish; Leonardo da Vinci: Italian;
        Michelangelo: Italian; Pablo Picasso: Spanish; Vincent van Gogh: Dutch;
        Claude Monet: French; Salvador Dalí: Catalan / Spanish;
        Napoleon Bonaparte: Corsican / Italian / French; Abraham Lincoln: English;
        Mahatma Gandhi: Gujarati; Nelson Mandela: Xhosa; Mao Zedong: Chinese;
        Vladimir Lenin: Russian; Karl Marx: German; Sigmund Freud: German; Charles Dickens: English;
        Leo Tolstoy: Russian; Franz Kafka: German; Plato: Greek; Aristotle: Greek; Socrates: Greek;
        Cleopatra: Greek; Confucius: Chinese; Marco Polo: Italian / Venetian; Pelé: Portuguese;
        Alexander the Great: Greek;
    """,
    "P101": """
        William Shakespeare: literature / drama / theater / poetry; Wolfgang Amadeus Mozart: music;
        Ludwig van Beethoven: music; Johann Sebastian Bach: music;
        Albert Einstein: physics / mathematics;
        Isaac Newton: physics / mathematics / astronomy / theology;
        Charles Darwin: biology / geology / botany;
        Galileo Galilei: astronomy / physics / mathematics / engineering;
        Marie Curie: physics / chemistry;
        Leonardo da Vinci: painting / art / anatomy / engineering / sculpture / architecture /
        botany / geology / mathematics / music;
        Michelangelo: sculpture / painting / art / architecture / poetry;
        Pablo Picasso: painting / art / sculpture; Vincent van Gogh: painting / art;
        Claude Monet: painting / art; Abraham Lincoln: politics / law;
        Mahatma Gandhi: politics / law;
        Winston Churchill: politics / history / literature / painting;
        Karl Marx: philosophy / economics / politics / sociology / history;
        Sigmund Freud: psychoanalysis / psychology / psychiatry / neurology / medicine;
        Charles Dickens: literature; Jane Austen: literature; Leo Tolstoy: literature / philosophy;
        Plato: philosophy / ethics / politics / mathematics;
        Aristotle: philosophy / biology / physics / ethics / politics / psychology / astronomy;
        Socrates: philosophy / ethics; Julius Caesar: politics / history / literature;
        Confucius: philosophy / ethics / politics; Elvis Presley: music; Bob Marley: music;
    """,
    "P800": """
        William Shakespeare: Hamlet / Romeo and Juliet / Macbeth / Othello / King Lear;
        Wolfgang Amadeus Mozart: The Magic Flute / Requiem / Don Giovanni / The Marriage of Figaro;
        Ludwig van Beethoven: Ninth Symphony / Fifth Symphony / Moonlight Sonata / Fidelio;
        Isaac Newton: Principia / Laws of Motion;
        Charles Darwin: On the Origin of Species / The Descent of Man;
        Leonardo da Vinci: Mona Lisa / The Last Supper;
        Michelangelo: David / Sistine Chapel / Pietà; Pablo Picasso: Guernica;
        Vincent van Gogh: The Starry Night / Sunflowers; Claude Monet: Water Lilies;
        Salvador Dalí: The Persistence of Memory; Karl Marx: Das Kapital / The Communist Manifesto;
        Sigmund Freud: The Interpretation of Dreams;
        Charles Dickens: Oliver Twist / A Tale of Two Cities / Great Expectations / A Christmas
        Carol / Bleak House;
        Jane Austen: Pride and Prejudice / Sense and Sensibility / Emma / Persuasion;
        Leo Tolstoy: War and Peace / Anna Karenina; Plato: Republic / Symposium;
        Aristotle: Nicomachean Ethics / Poetics / Metaphysics;
    """,
    "P135": """
        Leonardo da Vinci: Renaissance; Pablo Picasso: Cubism / Surrealism;
        Claude Monet: Impressionism; Salvador Dalí: Surrealism / Cubism / Dadaism;
        Wolfgang Amadeus Mozart: Classicism; Ludwig van Beethoven: Romanticism / Classicism;
        Frédéric Chopin: Romanticism; Karl Marx: Marxism / Communism;
        Vladimir Lenin: Communism / Marxism; Leo Tolstoy: Realism / Anarchism;
        Confucius: Confucianism; Sigmund Freud: Psychoanalysis;
    """,
    "P569": """
        William Shakespeare: 16th century; Wolfgang Amadeus Mozart: 18th century;
        Ludwig van Beethoven: 18th century; Johann Sebastian Bach: 17th century;
        Frédéric Chopin: 19th century; Albert Einstein: 19th century; Isaac Newton: 17th century;
        Charles Darwin: 19th century; Galileo Galilei: 16th century; Marie Curie: 19th century;
        Pablo Picasso: 19th century; Vincent van Gogh: 19th century;
        Napoleon Bonaparte: 18th century; Abraham Lincoln: 19th century; Karl Marx: 19th century;
        Charles Dickens: 19th century; Jane Austen: 18th century; Leo Tolstoy: 19th century;
    """,
    "P39": """
        Napoleon Bonaparte: emperor / consul / king; Abraham Lincoln: president;
        George Washington: president; Nelson Mandela: president;
        Winston Churchill: prime minister / chancellor / minister of war / secretary;
        Mao Zedong: chairman / president; Julius Caesar: dictator / consul / senator / governor;
        Cleopatra: queen / pharaoh; Christopher Columbus: governor / viceroy / admiral;
        Alexander the Great: king / pharaoh; Henry VIII: king; John F. Kennedy: president / senator;
    """,
    "P641": """
        Muhammad Ali: boxing; Pelé: football; Lionel Messi: football; Diego Maradona: football;
        Michael Jordan: basketball / baseball; Roger Federer: tennis; Tiger Woods: golf;
        Babe Ruth: baseball; Usain Bolt: athletics; Michael Phelps: swimming;
    """,
}
