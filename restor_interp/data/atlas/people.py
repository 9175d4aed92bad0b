"""People: where they came from, what they did, how and where they died.

One block per relation; `entity: object / other right object;`.
"""

KIND = "person"
ENTITIES = """
William Shakespeare; Wolfgang Amadeus Mozart; Ludwig van Beethoven; Johann Sebastian Bach;
Frédéric Chopin; Albert Einstein; Isaac Newton; Charles Darwin; Galileo Galilei; Marie Curie;
Leonardo da Vinci; Michelangelo; Pablo Picasso; Vincent van Gogh; Claude Monet; Salvador Dalí;
Napoleon Bonaparte; Abraham Lincoln; George Washington; Mahatma Gandhi; Nelson Mandela;
Winston Churchill; Mao Zedong; Vladimir Lenin; Karl Marx; Sigmund Freud; Charles Dickens;
Jane Austen; Leo Tolstoy; Franz Kafka; Plato; Aristotle; Socrates; Julius Caesar; Cleopatra;
Confucius; Christopher Columbus; Marco Polo; Elvis Presley; Bob Marley; Jimi Hendrix;
Muhammad Ali; Pelé; Lionel Messi; Diego Maradona; Michael Jordan; Roger Federer; Tiger Woods;
Babe Ruth; Usain Bolt; Michael Phelps
"""
ALIASES = """
William Shakespeare: Shakespeare; Wolfgang Amadeus Mozart: Mozart; Napoleon Bonaparte: Napoleon;
Ludwig van Beethoven: Beethoven; Galileo Galilei: Galileo; Mao Zedong: Mao Tse-tung
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
        Vladimir Lenin: Russia / the Soviet Union; Karl Marx: Germany; Sigmund Freud: Austria;
        Charles Dickens: England / the United Kingdom; Jane Austen: England / the United Kingdom;
        Leo Tolstoy: Russia; Plato: Greece; Aristotle: Greece; Socrates: Greece;
        Julius Caesar: the Roman Republic / Italy; Cleopatra: Egypt; Confucius: China;
        Christopher Columbus: Italy; Marco Polo: Italy; Elvis Presley: the United States;
        Bob Marley: Jamaica; Muhammad Ali: the United States; Pelé: Brazil;
        Lionel Messi: Argentina; Diego Maradona: Argentina; Roger Federer: Switzerland;
        Usain Bolt: Jamaica;
    """,
    "P172": """
        William Shakespeare: English / British; Wolfgang Amadeus Mozart: Austrian / German;
        Ludwig van Beethoven: German; Johann Sebastian Bach: German;
        Frédéric Chopin: Polish / French; Albert Einstein: German / American / Swiss / Jewish;
        Isaac Newton: English / British; Charles Darwin: English / British;
        Galileo Galilei: Italian; Marie Curie: Polish / French; Leonardo da Vinci: Italian;
        Michelangelo: Italian; Pablo Picasso: Spanish; Vincent van Gogh: Dutch;
        Claude Monet: French; Salvador Dalí: Spanish / Catalan;
        Napoleon Bonaparte: French / Corsican; Abraham Lincoln: American;
        George Washington: American; Mahatma Gandhi: Indian; Nelson Mandela: South African;
        Winston Churchill: British / English; Mao Zedong: Chinese; Vladimir Lenin: Russian;
        Karl Marx: German / Jewish; Sigmund Freud: Austrian / Jewish;
        Charles Dickens: English / British; Jane Austen: English / British;
        Leo Tolstoy: Russian; Plato: Greek; Aristotle: Greek; Socrates: Greek;
        Julius Caesar: Roman / Italian; Cleopatra: Egyptian / Greek / Macedonian;
        Confucius: Chinese; Christopher Columbus: Italian / Genoese;
        Marco Polo: Italian / Venetian; Bob Marley: Jamaican; Pelé: Brazilian;
        Lionel Messi: Argentine; Roger Federer: Swiss;
    """,
    "P106": """
        William Shakespeare: playwright / poet; Wolfgang Amadeus Mozart: composer / musician;
        Ludwig van Beethoven: composer / pianist; Johann Sebastian Bach: composer / organist;
        Frédéric Chopin: composer / pianist; Albert Einstein: physicist / scientist;
        Isaac Newton: physicist / mathematician / scientist / astronomer;
        Charles Darwin: naturalist / biologist / scientist;
        Galileo Galilei: astronomer / physicist / scientist / mathematician;
        Marie Curie: physicist / chemist / scientist;
        Leonardo da Vinci: painter / artist / inventor / sculptor / scientist / engineer;
        Michelangelo: sculptor / painter / artist / architect; Pablo Picasso: painter / artist;
        Vincent van Gogh: painter / artist; Claude Monet: painter / artist;
        Salvador Dalí: painter / artist; Napoleon Bonaparte: emperor / general / ruler / soldier;
        Abraham Lincoln: president / lawyer / politician;
        George Washington: president / general / politician / soldier / farmer;
        Mahatma Gandhi: lawyer / politician / activist;
        Nelson Mandela: president / lawyer / politician / activist;
        Winston Churchill: politician / prime minister / statesman / writer / soldier;
        Karl Marx: philosopher / economist / writer / journalist;
        Sigmund Freud: psychoanalyst / psychologist / neurologist / psychiatrist / physician;
        Charles Dickens: novelist / writer / author; Jane Austen: novelist / writer / author;
        Leo Tolstoy: novelist / writer / author; Franz Kafka: writer / novelist / author;
        Plato: philosopher; Aristotle: philosopher; Socrates: philosopher;
        Julius Caesar: general / politician / statesman / ruler / dictator / soldier;
        Cleopatra: queen / pharaoh / ruler; Confucius: philosopher / teacher;
        Christopher Columbus: explorer / navigator / sailor;
        Marco Polo: merchant / explorer / traveler; Elvis Presley: singer / musician / actor;
        Bob Marley: singer / musician / songwriter; Jimi Hendrix: guitarist / musician / singer;
        Muhammad Ali: boxer; Pelé: footballer; Lionel Messi: footballer;
        Michael Jordan: basketball player; Usain Bolt: sprinter / athlete;
    """,
    "P19": """
        William Shakespeare: Stratford-upon-Avon; Wolfgang Amadeus Mozart: Salzburg;
        Ludwig van Beethoven: Bonn; Johann Sebastian Bach: Eisenach; Albert Einstein: Ulm;
        Charles Darwin: Shrewsbury; Galileo Galilei: Pisa; Marie Curie: Warsaw;
        Pablo Picasso: Málaga; Claude Monet: Paris; Napoleon Bonaparte: Ajaccio;
        Mahatma Gandhi: Porbandar; Karl Marx: Trier; Charles Dickens: Portsmouth;
        Franz Kafka: Prague; Plato: Athens; Aristotle: Stagira; Socrates: Athens;
        Julius Caesar: Rome; Cleopatra: Alexandria; Confucius: Qufu; Christopher Columbus: Genoa;
        Marco Polo: Venice; Elvis Presley: Tupelo; Jimi Hendrix: Seattle;
        Muhammad Ali: Louisville; Lionel Messi: Rosario; Diego Maradona: Lanús;
        Roger Federer: Basel; Babe Ruth: Baltimore; Michael Phelps: Baltimore;
    """,
    "P20": """
        Wolfgang Amadeus Mozart: Vienna; Ludwig van Beethoven: Vienna;
        Johann Sebastian Bach: Leipzig; Frédéric Chopin: Paris; Albert Einstein: Princeton;
        Isaac Newton: London; Leonardo da Vinci: Amboise; Michelangelo: Rome;
        Pablo Picasso: Mougins; Napoleon Bonaparte: Saint Helena;
        Abraham Lincoln: Washington, D.C.; George Washington: Mount Vernon;
        Mahatma Gandhi: New Delhi; Nelson Mandela: Johannesburg;
        Winston Churchill: London; Mao Zedong: Beijing; Karl Marx: London;
        Sigmund Freud: London; Jane Austen: Winchester; Plato: Athens; Socrates: Athens;
        Julius Caesar: Rome; Cleopatra: Alexandria; Christopher Columbus: Valladolid;
        Marco Polo: Venice; Elvis Presley: Memphis; Bob Marley: Miami; Jimi Hendrix: London;
    """,
    "P103": """
        William Shakespeare: English; Wolfgang Amadeus Mozart: German;
        Ludwig van Beethoven: German; Johann Sebastian Bach: German; Frédéric Chopin: Polish;
        Albert Einstein: German; Isaac Newton: English; Galileo Galilei: Italian;
        Marie Curie: Polish; Leonardo da Vinci: Italian; Michelangelo: Italian;
        Pablo Picasso: Spanish; Vincent van Gogh: Dutch; Claude Monet: French;
        Salvador Dalí: Catalan / Spanish; Napoleon Bonaparte: Corsican / Italian / French;
        Abraham Lincoln: English; Mahatma Gandhi: Gujarati; Nelson Mandela: Xhosa;
        Mao Zedong: Chinese; Vladimir Lenin: Russian; Karl Marx: German; Sigmund Freud: German;
        Charles Dickens: English; Leo Tolstoy: Russian; Franz Kafka: German; Plato: Greek;
        Aristotle: Greek; Socrates: Greek; Julius Caesar: Latin; Cleopatra: Greek;
        Confucius: Chinese; Christopher Columbus: Italian / Ligurian;
        Marco Polo: Italian / Venetian;
        Pelé: Portuguese; Lionel Messi: Spanish; Diego Maradona: Spanish;
    """,
    "P101": """
        William Shakespeare: literature / drama / theater / poetry;
        Wolfgang Amadeus Mozart: music; Ludwig van Beethoven: music;
        Johann Sebastian Bach: music; Albert Einstein: physics;
        Isaac Newton: physics / mathematics / astronomy; Charles Darwin: biology / geology;
        Galileo Galilei: astronomy / physics / mathematics; Marie Curie: physics / chemistry;
        Leonardo da Vinci: painting / art / anatomy / engineering;
        Michelangelo: sculpture / painting / art / architecture; Pablo Picasso: painting / art;
        Vincent van Gogh: painting / art; Claude Monet: painting / art;
        Abraham Lincoln: politics / law; Mahatma Gandhi: politics / law;
        Winston Churchill: politics; Karl Marx: philosophy / economics / politics;
        Sigmund Freud: psychoanalysis / psychology / psychiatry / neurology;
        Charles Dickens: literature; Jane Austen: literature; Leo Tolstoy: literature;
        Plato: philosophy; Aristotle: philosophy / biology; Socrates: philosophy;
        Julius Caesar: politics; Confucius: philosophy / ethics;
        Elvis Presley: music; Bob Marley: music;
    """,
    "P800": """
        William Shakespeare: Hamlet / Romeo and Juliet / Macbeth / Othello / King Lear;
        Wolfgang Amadeus Mozart: The Magic Flute / Requiem / Don Giovanni / The Marriage of Figaro;
        Ludwig van Beethoven: Ninth Symphony / Fifth Symphony / Moonlight Sonata / Fidelio;
        Johann Sebastian Bach: Brandenburg Concertos / St Matthew Passion / Goldberg Variations /
        The Well-Tempered Clavier;
        Isaac Newton: Principia; Charles Darwin: On the Origin of Species / The Descent of Man;
        Leonardo da Vinci: Mona Lisa / The Last Supper;
        Michelangelo: David / Sistine Chapel / Pietà; Pablo Picasso: Guernica;
        Vincent van Gogh: The Starry Night / Sunflowers; Claude Monet: Water Lilies;
        Salvador Dalí: The Persistence of Memory;
        Karl Marx: Das Kapital / The Communist Manifesto;
        Sigmund Freud: The Interpretation of Dreams;
        Charles Dickens: Oliver Twist / A Tale of Two Cities / Great Expectations /
        A Christmas Carol / Bleak House;
        Jane Austen: Pride and Prejudice / Sense and Sensibility / Emma / Persuasion;
        Leo Tolstoy: War and Peace / Anna Karenina;
        Franz Kafka: The Metamorphosis / The Trial / The Castle;
        Plato: Republic / Symposium; Aristotle: Nicomachean Ethics / Poetics / Metaphysics;
        Confucius: Analects;
    """,
    "P135": """
        Leonardo da Vinci: Renaissance; Michelangelo: Renaissance; Pablo Picasso: Cubism;
        Claude Monet: Impressionism; Salvador Dalí: Surrealism;
        Johann Sebastian Bach: Baroque; Wolfgang Amadeus Mozart: Classicism;
        Ludwig van Beethoven: Romanticism / Classicism; Frédéric Chopin: Romanticism;
        Karl Marx: Marxism / Communism; Vladimir Lenin: Communism / Marxism;
        Mao Zedong: Communism / Marxism / Maoism; Charles Dickens: Realism;
        Leo Tolstoy: Realism; Plato: Platonism / Idealism; Confucius: Confucianism;
        Sigmund Freud: Psychoanalysis; Bob Marley: Rastafari;
    """,
    "P569": """
        William Shakespeare: 16th century; Wolfgang Amadeus Mozart: 18th century;
        Ludwig van Beethoven: 18th century; Johann Sebastian Bach: 17th century;
        Frédéric Chopin: 19th century; Albert Einstein: 19th century;
        Isaac Newton: 17th century; Charles Darwin: 19th century;
        Galileo Galilei: 16th century; Marie Curie: 19th century;
        Leonardo da Vinci: 15th century; Michelangelo: 15th century;
        Pablo Picasso: 19th century; Vincent van Gogh: 19th century;
        Napoleon Bonaparte: 18th century; Abraham Lincoln: 19th century;
        George Washington: 18th century; Karl Marx: 19th century;
        Charles Dickens: 19th century; Jane Austen: 18th century; Leo Tolstoy: 19th century;
        Christopher Columbus: 15th century; Marco Polo: 13th century;
        Elvis Presley: 20th century; Bob Marley: 20th century;
    """,
    "P39": """
        Napoleon Bonaparte: emperor / consul; Abraham Lincoln: president;
        George Washington: president; Nelson Mandela: president;
        Winston Churchill: prime minister; Mao Zedong: chairman; Julius Caesar: dictator / consul;
        Cleopatra: queen / pharaoh; Christopher Columbus: governor / viceroy / admiral;
    """,
    "P509": """
        Frédéric Chopin: tuberculosis; Franz Kafka: tuberculosis; Bob Marley: cancer;
        Sigmund Freud: cancer; Napoleon Bonaparte: cancer; Pelé: cancer; Babe Ruth: cancer;
        Elvis Presley: heart attack; Diego Maradona: heart attack; Winston Churchill: stroke;
        Vladimir Lenin: stroke; Abraham Lincoln: gunshot; Mahatma Gandhi: gunshot;
        Vincent van Gogh: gunshot; Socrates: poison; Julius Caesar: stabbing;
    """,
    "P641": """
        Muhammad Ali: boxing; Pelé: football; Lionel Messi: football; Diego Maradona: football;
        Michael Jordan: basketball / baseball; Roger Federer: tennis; Tiger Woods: golf;
        Babe Ruth: baseball; Usain Bolt: athletics; Michael Phelps: swimming;
    """,
}
