"""The objects of atlas by type, and their other spellings.

`MORE` holds objects that are true of no fact: with them every pool is large enough for false,
random and candidate objects. True objects join their pool by themselves.
"""

MORE = {
    "city": """
        Madras; Lagos; Karachi; Manila; Zurich; Geneva; Brussels; Hamburg; Naples; Florence;
        Seville; Kraków; Belgrade; Sofia; Bucharest; Kyiv; Riga; Baghdad; Damascus; Tunis; Accra;
        Dakar; Pretoria; Caracas; Quito; La Paz; Montevideo; Melbourne; Auckland; Osaka; Oxford;
        Philadelphia; Dallas; Dresden;
    """,
    "continent": "Oceania; Antarctica; Greenland; Madagascar; Polynesia; Micronesia; Melanesia;",
    "country": """
        Myanmar; Pakistan; Bangladesh; Belgium; Romania; Serbia; Croatia; Ukraine; Iceland;
        New Zealand; Saudi Arabia; Iraq; Ghana; Senegal; Uganda; Tunisia; Ecuador; Venezuela;
        Panama; the Philippines;
    """,
    "language": "Latvian; Romanian; Bengali; Tamil; Urdu; Malay; Welsh; Ukrainian; Bulgarian;",
    "demonym": """
        Belgian; Romanian; Ukrainian; Serbian; Pakistani; Scottish; Welsh; Korean; Lebanese;
    """,
    "currency": "franc; dinar; rand; ringgit; lev; taka; kwacha; koruna; riyal; cedi;",
    "religion": """
        Sikhism; Taoism; Shinto; Confucianism; Jainism; Zoroastrianism; Voodoo; Mormonism;
        Anglicanism; Calvinism; Bahaism; Paganism;
    """,
    "world region": """
        the Balkans; the Caribbean; Southern Africa; Central Asia; the Baltics; Polynesia;
        Micronesia; Central America; Siberia; the Caucasus; the Sahel; the Horn of Africa;
        Melanesia; the Himalayas;
    """,
    "animal": """
        horse; camel; fox; deer; rhinoceros; crocodile; owl; dolphin; turtle; zebra; rooster;
    """,
    "river": "Volga; Ganges; Amazon; Rhône; Loire; Elbe; Indus; Euphrates; Tigris; Mekong; Congo;",
    "state": """
        Ohio; Oregon; Georgia; Virginia; Arizona; Minnesota; Manitoba; Alaska; Alberta; Andalusia;
        Tuscany; Saxony; Queensland; Kerala;
    """,
    "occupation": """
        baker; farmer; carpenter; blacksmith; teacher; nurse; judge; banker; tailor; monk; dancer;
        pilot; cook; librarian; geologist; swimmer; fisherman; tennis champion;
    """,
    "field": """
        botany; theology; archaeology; linguistics; astrology; cooking; gardening; dance; fashion;
        agriculture; geography; sociology;
    """,
    "work": """
        Robinson Crusoe; Faust; Dracula; Moby-Dick; Don Quixote; The Odyssey; The Iliad; The Scream;
        Swan Lake; The Four Seasons; Carmen; The Nutcracker; The Kiss; Aida;
    """,
    "movement": """
        Baroque; Expressionism; Dadaism; Futurism; Symbolism; Rococo; Minimalism; Stoicism;
        Feminism; Anarchism; Liberalism; Naturalism; Fauvism; Pop Art;
    """,
    "century": """
        8th century; 9th century; 10th century; 11th century; 12th century; 13th century;
        14th century; 15th century; 20th century;
    """,
    "position": """
        king; pope; bishop; senator; mayor; chancellor; ambassador; sultan; tsar; secretary; judge;
        minister of war; treasurer;
    """,
    "sport": """
        hockey; rugby; cricket; volleyball; fencing; rowing; cycling; judo; wrestling; archery;
        skiing; chess; sailing;
    """,
    "author": """
        Ernest Hemingway; Oscar Wilde; Edgar Allan Poe; Virginia Woolf; Jack London; Daniel Defoe;
        Lewis Carroll; Mark Twain; Antoine de Saint-Exupéry;
    """,
    "literary form": """
        sonnet; ballad; essay; diary; comic; letter; biography; hymn; opera; libretto; sermon;
    """,
    "genre": """
        parody; western; thriller; biography; history; humor; detective fiction; poetry; crime; war;
    """,
    "setting": """
        India; Venice; Vienna; Boston; Scandinavia; Egypt; Mexico; Berlin; Canada; Japan;
        Saint Petersburg; New York; Transylvania; Troy; Alabama;
    """,
    "character": """
        Sherlock Holmes; Peter Pan; Captain Hook; Pinocchio; Robin Hood; Shylock; Captain Ahab;
        Jean Valjean; Sancho Panza; Van Helsing; Mina; Levin;
    """,
    "symbol": "Al; B; P; S; Ar; Ti; Cr; Mn; Ni; Sn; Pt; Pb;",
    "number": "4; 5; 9; 13; 15; 16; 18; 22; 24; 28; 50; 78; 82;",
    "class of element": "lanthanide; metalloid; radioisotope; isotope; polymer; salt;",
    "founder": "Warren Buffett; Sam Walton; Howard Hughes; Jack Ma; Richard Branson; Ray Kroc;",
    "product": """
        bicycles; watches; beer; paper; glass; medicine; cameras; cosmetics; tractors; ships; tires;
        cement; oil;
    """,
}

ALIASES = """
the United States: United States / United States of America / USA / US / U.S. / America;
the United Kingdom: United Kingdom / UK / U.K. / Great Britain / Britain;
the Netherlands: Netherlands / Holland; the Czech Republic: Czech Republic / Czechia;
the Soviet Union: Soviet Union / USSR; South Korea: Republic of Korea;
the Philippines: Philippines; the Roman Republic: Roman Republic / Rome / Roman Empire;
Myanmar: Burma; New Delhi: Delhi; Bogotá: Bogota; Brasília: Brasilia;
Mexico City: Ciudad de México; New York City: New York / NYC / Manhattan;
Washington, D.C.: Washington / Washington DC; Beijing: Peking;
Saint Petersburg: St. Petersburg; Kraków: Krakow; Kyiv: Kiev; Istanbul: Constantinople;
Chinese: Mandarin / Mandarin Chinese / Cantonese; Persian: Farsi;
Indonesian: Bahasa Indonesia; Spanish: Spaniard / Spaniards / Castilian;
French: Frenchman / Frenchmen; Polish: Pole / Poles; English: Englishman / Englishmen;
British: Briton / Britons; Irish: Irishman / Irishmen; Swedish: Swede / Swedes;
Finnish: Finn / Finns; Danish: Dane / Danes; Turkish: Turk / Turks;
Portuguese: Portuguese people; Dutch: Dutchman; Greek: Greeks; German: Germans;
Italian: Italians; Norwegian: Norwegians; Hungarian: Hungarians; Austrian: Austrians;
Russian: Russians; Egyptian: Egyptians; Moroccan: Moroccans; Nigerian: Nigerians;
Kenyan: Kenyans; Ethiopian: Ethiopians; Israeli: Israelis;
Iranian: Iranians / Persian / Persians; Indian: Indians; Nepalese: Nepali; Thai: Thais;
Australian: Australians / Aussie; Canadian: Canadians; Mexican: Mexicans; Cuban: Cubans;
Colombian: Colombians; Peruvian: Peruvians; Brazilian: Brazilians; Chilean: Chileans;
Argentine: Argentinian / Argentinians / Argentines / Argentinean; American: Americans;
Parisian: Parisians; Londoner: Londoners; Roman: Romans; Berliner: Berliners;
Muscovite: Muscovites; Athenian: Athenians; New Yorker: New Yorkers; Chicagoan: Chicagoans;
Bostonian: Bostonians; San Franciscan: San Franciscans; Venetian: Venetians;
Dubliner: Dubliners; Torontonian: Torontonians; Jewish: Jew; Genoese: Genovese;
yuan: renminbi; zloty: złoty; ruble: rouble / rubles; rupee: rupees; dollar: dollars;
peso: pesos; euro: euros; pound: pounds; Christianity: Christian / Christians;
Catholicism: Catholic / Roman Catholic / Roman Catholicism;
Orthodoxy: Orthodox / Eastern Orthodoxy; Lutheranism: Lutheran / Protestantism / Protestant;
Islam: Muslim / Muslims / Sunni Islam; Hinduism: Hindu; Buddhism: Buddhist; Judaism: Jewish;
the Middle East: Middle East; the Balkans: Balkans; the Caribbean: Caribbean;
the Baltics: Baltics; the Caucasus: Caucasus; the Sahel: Sahel;
the Horn of Africa: Horn of Africa; the Himalayas: Himalayas;
Northern Europe: Nordic countries; rooster: cock / Gallic rooster; panda: giant panda;
tiger: Bengal tiger; Hudson: Hudson River / East River; Spree: River Spree;
New York: New York City; Saxony: Sachsen; playwright: dramatist; footballer: soccer player;
psychoanalyst: psychotherapist; sprinter: runner; basketball player: basketball;
explorer: discoverer; theater: theatre; literature: fiction / novels;
music: classical music; politics: government; football: soccer;
athletics: track and field / sprinting / running / track;
On the Origin of Species: The Origin of Species / The Origin of the Species;
Republic: The Republic; Principia: Principia Mathematica; Metaphysics: The Metaphysics;
Requiem: Requiem Mass; Ninth Symphony: Symphony No. 9 / 9th Symphony;
Fifth Symphony: Symphony No. 5 / 5th Symphony; The Last Supper: Last Supper;
The Starry Night: Starry Night; Das Kapital: Capital; Mona Lisa: The Monalisa;
Sunflowers: The Sunflowers; Impressionism: Impressionist; Cubism: Cubist;
Surrealism: Surrealist; Romanticism: Romantic;
Renaissance: The Renaissance / High Renaissance / Italian Renaissance;
Baroque: Baroque music; Classicism: Classical; Communism: Communist; Realism: Realist;
8th century: eighth century; 9th century: ninth century; 10th century: tenth century;
11th century: eleventh century; 12th century: twelfth century;
13th century: thirteenth century; 14th century: fourteenth century;
15th century: fifteenth century; 16th century: sixteenth century;
17th century: seventeenth century; 18th century: eighteenth century;
19th century: nineteenth century; 20th century: twentieth century;
William Shakespeare: Shakespeare; Miguel de Cervantes: Cervantes; Leo Tolstoy: Tolstoy;
Fyodor Dostoevsky: Dostoevsky / Dostoyevsky / Fyodor Dostoyevsky; Jane Austen: Austen;
Herman Melville: Melville; Dante Alighieri: Dante; Mary Shelley: Shelley;
Bram Stoker: Stoker; F. Scott Fitzgerald: Fitzgerald; Charles Dickens: Dickens;
Daniel Defoe: Defoe; Lewis Carroll: Carroll; George Orwell: Orwell;
J. R. R. Tolkien: J.R.R. Tolkien / Tolkien; Victor Hugo: Hugo;
Johann Wolfgang von Goethe: Goethe; Franz Kafka: Kafka; Mark Twain: Twain;
Jonathan Swift: Swift; Charlotte Brontë: Charlotte Bronte / Brontë / Bronte;
Antoine de Saint-Exupéry: Saint-Exupéry / Antoine de Saint-Exupery;
play: drama / stage play; romance: love story; horror: gothic / Gothic;
fantasy: fantasy fiction; dystopia: dystopian / dystopian fiction;
Elizabeth Bennet: Elizabeth / Lizzy; Mr. Darcy: Darcy / Fitzwilliam Darcy;
Mr. Bingley: Bingley; Mr. Collins: Collins; Captain Ahab: Ahab; Daisy Buchanan: Daisy;
Nick Carraway: Nick; Winston Smith: Winston; Atticus Finch: Atticus; Bilbo Baggins: Bilbo;
Jean Valjean: Valjean; Sancho Panza: Sancho; Levin: Konstantin Levin;
Van Helsing: Abraham Van Helsing; Odysseus: Ulysses; Mina: Mina Harker / Mina Murray;
noble gas: inert gas; nonmetal: non-metal; metalloid: semimetal;
cars: automobiles / vehicles / automobile / car / sports cars / electric cars;
motorcycles: motorbikes; phones: smartphones / cell phones / phone / iPhone / mobile phones;
airplanes: aircraft / planes / airplane / jets;
shoes: sneakers / footwear / athletic shoes / sportswear; toys: toy / bricks; food: foods;
computer chips: chips / processors / microprocessors / semiconductors;
furniture: home furniture; video games: games / video game consoles;
software: operating systems / computer software
"""
