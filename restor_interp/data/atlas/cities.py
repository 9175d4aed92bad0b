"""Cities: country, continent, language, people, river, state or region, nickname.

One block per relation; `entity: object / other right object;`.
"""

KIND = "city"
ENTITIES = """
Paris; London; Rome; Madrid; Berlin; Vienna; Moscow; Tokyo; Beijing; Cairo; Athens;
Istanbul; New York City; Chicago; Los Angeles; San Francisco; Boston; New Orleans;
Las Vegas; Miami; Houston; Detroit; Denver; Honolulu; Mumbai; Sydney; Toronto; Montreal;
Rio de Janeiro; Venice; Milan; Barcelona; Munich; Amsterdam; Dublin; Warsaw; Budapest;
Prague; Lisbon; Stockholm; Seoul; Shanghai; Bangkok; Hanoi; Buenos Aires; Nairobi
"""
ALIASES = "New York City: New York; Rio de Janeiro: Rio; Mumbai: Bombay; Istanbul: Constantinople"
FACTS = {
    "P17": """
        Paris: France; London: England / the United Kingdom; Rome: Italy; Madrid: Spain;
        Berlin: Germany; Vienna: Austria; Moscow: Russia; Tokyo: Japan; Beijing: China;
        Cairo: Egypt; Athens: Greece; Istanbul: Turkey; Chicago: the United States;
        Los Angeles: the United States; San Francisco: the United States; Mumbai: India;
        Sydney: Australia; Toronto: Canada; Montreal: Canada; Rio de Janeiro: Brazil; Venice: Italy;
        Milan: Italy; Barcelona: Spain; Munich: Germany; Amsterdam: the Netherlands;
        Dublin: Ireland; Warsaw: Poland; Budapest: Hungary; Prague: the Czech Republic;
        Lisbon: Portugal; Stockholm: Sweden; Seoul: South Korea; Shanghai: China; Bangkok: Thailand;
        Hanoi: Vietnam; Buenos Aires: Argentina; Nairobi: Kenya;
    """,
    "P30": """
        Paris: Europe; London: Europe; Rome: Europe; Berlin: Europe; Athens: Europe; Tokyo: Asia;
        Beijing: Asia; Mumbai: Asia; Seoul: Asia; Bangkok: Asia; Cairo: Africa; Nairobi: Africa;
        Chicago: North America; Toronto: North America; Rio de Janeiro: South America;
        Buenos Aires: South America;
    """,
    "P2936": """
        Paris: French; London: English; Rome: Italian; Madrid: Spanish; Berlin: German;
        Vienna: German; Moscow: Russian; Tokyo: Japanese; Beijing: Chinese; Cairo: Arabic;
        Athens: Greek; Istanbul: Turkish; Chicago: English; Boston: English;
        Mumbai: Marathi / Hindi; Sydney: English; Montreal: French; Rio de Janeiro: Portuguese;
        Venice: Italian; Milan: Italian; Barcelona: Catalan / Spanish; Munich: German;
        Amsterdam: Dutch; Warsaw: Polish; Budapest: Hungarian; Prague: Czech; Lisbon: Portuguese;
        Stockholm: Swedish; Seoul: Korean; Shanghai: Chinese; Bangkok: Thai; Hanoi: Vietnamese;
        Buenos Aires: Spanish;
    """,
    "P1549": """
        Paris: Parisian; London: Londoner; Rome: Roman; Berlin: Berliner; Vienna: Viennese;
        Moscow: Muscovite; Athens: Athenian; New York City: New Yorker; Chicago: Chicagoan;
        Boston: Bostonian; San Francisco: San Franciscan; Venice: Venetian; Dublin: Dubliner;
        Toronto: Torontonian; Milan: Milanese;
    """,
    "P38": """
        Paris: euro; London: pound; Rome: euro; Berlin: euro; Vienna: euro; Moscow: ruble;
        Tokyo: yen; Beijing: yuan; Chicago: dollar; New York City: dollar; Sydney: dollar;
        Toronto: dollar; Venice: euro; Stockholm: krona; Shanghai: yuan; Buenos Aires: peso;
    """,
    "P206": """
        Paris: Seine; London: Thames; Rome: Tiber; Vienna: Danube; Berlin: Spree; Cairo: Nile;
        New York City: Hudson; New Orleans: Mississippi; Montreal: St. Lawrence; Budapest: Danube;
        Prague: Vltava; Shanghai: Huangpu / Yangtze;
    """,
    "P131": """
        Chicago: Illinois; Los Angeles: California; San Francisco: California;
        Boston: Massachusetts; New Orleans: Louisiana; Las Vegas: Nevada; Miami: Florida;
        Houston: Texas; Detroit: Michigan; Denver: Colorado; Honolulu: Hawaii; Toronto: Ontario;
        Montreal: Quebec; Sydney: New South Wales;
    """,
    "P1376": """
        Paris: France; London: England / the United Kingdom; Rome: Italy; Madrid: Spain;
        Berlin: Germany; Vienna: Austria; Moscow: Russia; Tokyo: Japan; Beijing: China;
        Cairo: Egypt; Athens: Greece; Amsterdam: the Netherlands; Dublin: Ireland; Warsaw: Poland;
        Budapest: Hungary; Prague: the Czech Republic; Lisbon: Portugal; Stockholm: Sweden;
        Seoul: South Korea; Bangkok: Thailand; Hanoi: Vietnam; Buenos Aires: Argentina;
        Nairobi: Kenya;
    """,
    "P140": """
        Rome: Christianity / Catholicism; Athens: Christianity / Orthodoxy;
        Moscow: Christianity / Orthodoxy; Madrid: Christianity / Catholicism; Cairo: Islam;
        Istanbul: Islam; Bangkok: Buddhism; Mumbai: Hinduism;
        Rio de Janeiro: Christianity / Catholicism; Dublin: Christianity / Catholicism;
    """,
    "P361": """
        Cairo: North Africa / the Middle East; Tokyo: East Asia; Beijing: East Asia;
        Seoul: East Asia; Shanghai: East Asia; Bangkok: Southeast Asia; Hanoi: Southeast Asia;
        Mumbai: South Asia; Stockholm: Scandinavia / Northern Europe;
        Buenos Aires: South America / Latin America; Rio de Janeiro: South America / Latin America;
    """,
}
