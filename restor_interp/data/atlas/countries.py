"""Countries: capital, continent, language, people, money, religion, neighbours, symbols.

One block per relation; `entity: object / other right object;`. Only countries whose name needs no
article. A country with many neighbours has no entry under P47: every right answer is listed.
"""

KIND = "country"
ENTITIES = """
France; Germany; Italy; Spain; Portugal; Greece; Poland; Sweden; Norway; Finland; Denmark;
Ireland; Hungary; Austria; Russia; Turkey; Egypt; Morocco; Nigeria; Kenya; Ethiopia; Israel;
Iran; India; Nepal; China; Japan; Thailand; Vietnam; Indonesia; Australia; Canada; Mexico;
Cuba; Colombia; Peru; Brazil; Chile; Argentina
"""
ALIASES = "Iran: Persia; Turkey: Türkiye"
FACTS = {
    "P36": """
        France: Paris; Germany: Berlin; Italy: Rome; Spain: Madrid; Portugal: Lisbon;
        Greece: Athens; Poland: Warsaw; Sweden: Stockholm; Norway: Oslo; Finland: Helsinki;
        Denmark: Copenhagen; Ireland: Dublin; Hungary: Budapest; Austria: Vienna; Russia: Moscow;
        Turkey: Ankara; Egypt: Cairo; Morocco: Rabat; Nigeria: Abuja; Kenya: Nairobi;
        Ethiopia: Addis Ababa; Iran: Tehran; India: New Delhi; Nepal: Kathmandu; China: Beijing;
        Japan: Tokyo; Thailand: Bangkok; Vietnam: Hanoi; Indonesia: Jakarta; Australia: Canberra;
        Canada: Ottawa; Mexico: Mexico City; Cuba: Havana; Colombia: Bogotá; Peru: Lima;
        Brazil: Brasília; Chile: Santiago; Argentina: Buenos Aires;
    """,
    "P30": """
        France: Europe; Germany: Europe; Italy: Europe; Spain: Europe; Portugal: Europe;
        Greece: Europe; Poland: Europe; Sweden: Europe; Norway: Europe; Finland: Europe;
        Hungary: Europe; Austria: Europe; Egypt: Africa; Morocco: Africa; Nigeria: Africa;
        Kenya: Africa; Ethiopia: Africa; Israel: Asia; Iran: Asia; India: Asia; Nepal: Asia;
        China: Asia; Japan: Asia; Thailand: Asia; Vietnam: Asia; Canada: North America;
        Mexico: North America; Cuba: North America; Colombia: South America; Peru: South America;
        Brazil: South America; Chile: South America; Argentina: South America;
    """,
    "P37": """
        France: French; Germany: German; Italy: Italian; Spain: Spanish / Catalan;
        Portugal: Portuguese; Greece: Greek; Poland: Polish; Sweden: Swedish; Norway: Norwegian;
        Finland: Finnish / Swedish; Denmark: Danish; Ireland: English / Irish; Hungary: Hungarian;
        Austria: German; Russia: Russian; Turkey: Turkish; Egypt: Arabic; Morocco: Arabic / Berber;
        Nigeria: English; Kenya: Swahili / English; Ethiopia: Amharic / Oromo / Somali;
        Israel: Hebrew / Arabic; Iran: Persian; India: Hindi / English / Bengali / Tamil / Urdu;
        Nepal: Nepali; China: Chinese; Japan: Japanese; Thailand: Thai; Vietnam: Vietnamese;
        Indonesia: Indonesian; Australia: English; Canada: English / French; Mexico: Spanish;
        Cuba: Spanish; Colombia: Spanish; Peru: Spanish / Quechua; Brazil: Portuguese;
        Chile: Spanish; Argentina: Spanish;
    """,
    "P2936": """
        France: French; Germany: German; Italy: Italian; Spain: Spanish; Portugal: Portuguese;
        Greece: Greek; Poland: Polish; Sweden: Swedish; Norway: Norwegian; Finland: Finnish;
        Denmark: Danish; Hungary: Hungarian; Russia: Russian; Turkey: Turkish; Egypt: Arabic;
        Morocco: Arabic / Berber / French; Kenya: Swahili / English; Israel: Hebrew / Arabic;
        Iran: Persian; India: Hindi / English / Bengali / Tamil / Urdu; China: Chinese;
        Japan: Japanese; Thailand: Thai; Vietnam: Vietnamese; Mexico: Spanish; Brazil: Portuguese;
        Argentina: Spanish; Cuba: Spanish;
    """,
    "P1549": """
        France: French; Germany: German; Italy: Italian; Spain: Spanish; Portugal: Portuguese;
        Greece: Greek; Poland: Polish; Sweden: Swedish; Norway: Norwegian; Finland: Finnish;
        Denmark: Danish; Ireland: Irish; Hungary: Hungarian; Austria: Austrian; Russia: Russian;
        Turkey: Turkish; Egypt: Egyptian; Morocco: Moroccan; Nigeria: Nigerian; Kenya: Kenyan;
        Ethiopia: Ethiopian; Israel: Israeli; Iran: Iranian; India: Indian; Nepal: Nepalese;
        China: Chinese; Japan: Japanese; Thailand: Thai; Vietnam: Vietnamese; Indonesia: Indonesian;
        Australia: Australian; Canada: Canadian; Mexico: Mexican; Cuba: Cuban; Colombia: Colombian;
        Peru: Peruvian; Brazil: Brazilian; Chile: Chilean; Argentina: Argentine;
    """,
    "P38": """
        Germany: euro; Italy: euro; Spain: euro; Greece: euro; Poland: zloty; Sweden: krona;
        Russia: ruble; Nigeria: naira; India: rupee; China: yuan; Japan: yen; Indonesia: rupiah;
        Australia: dollar; Canada: dollar; Mexico: peso; Cuba: peso; Colombia: peso; Chile: peso;
        Argentina: peso;
    """,
    "P140": """
        Italy: Christianity / Catholicism; Spain: Christianity / Catholicism;
        Portugal: Christianity / Catholicism; Greece: Christianity / Orthodoxy;
        Poland: Christianity / Catholicism; Sweden: Christianity / Lutheranism;
        Norway: Christianity / Lutheranism; Finland: Christianity / Lutheranism;
        Denmark: Christianity / Lutheranism; Ireland: Christianity / Catholicism;
        Russia: Christianity / Orthodoxy; Turkey: Islam; Egypt: Islam; Morocco: Islam;
        Israel: Judaism; Iran: Islam; India: Hinduism; Nepal: Hinduism; Thailand: Buddhism;
        Indonesia: Islam; Mexico: Christianity / Catholicism; Colombia: Christianity / Catholicism;
        Peru: Christianity / Catholicism; Brazil: Christianity / Catholicism;
    """,
    "P47": """
        Spain: Portugal / France / Andorra / Morocco; Portugal: Spain;
        Greece: Turkey / Albania / Bulgaria / North Macedonia; Norway: Sweden / Finland / Russia;
        Finland: Sweden / Norway / Russia; Egypt: Israel / Libya / Sudan / Palestine;
        Morocco: Algeria / Spain / Western Sahara;
        Israel: Egypt / Jordan / Lebanon / Syria / Palestine; Nepal: India / China;
        Vietnam: China / Laos / Cambodia; Mexico: the United States / Guatemala / Belize;
        Canada: the United States / Denmark; Chile: Argentina / Peru / Bolivia;
        Argentina: Chile / Brazil / Bolivia / Paraguay / Uruguay;
        Italy: France / Switzerland / Austria / Slovenia / San Marino / Vatican City;
    """,
    "P361": """
        Germany: Central Europe / Western Europe; Poland: Eastern Europe / Central Europe;
        Sweden: Scandinavia / Northern Europe; Norway: Scandinavia / Northern Europe;
        Denmark: Scandinavia / Northern Europe; Hungary: Central Europe / Eastern Europe;
        Egypt: North Africa / the Middle East; Morocco: North Africa; Nigeria: West Africa;
        Kenya: East Africa; Ethiopia: East Africa / the Horn of Africa;
        Israel: the Middle East / Western Asia; Iran: the Middle East / Western Asia;
        India: South Asia; Nepal: South Asia / the Himalayas; China: East Asia; Japan: East Asia;
        Thailand: Southeast Asia; Vietnam: Southeast Asia; Indonesia: Southeast Asia;
        Colombia: South America / Latin America; Peru: South America / Latin America;
        Brazil: South America / Latin America; Chile: South America / Latin America;
        Argentina: South America / Latin America;
    """,
    "P2238": """
        Germany: eagle; Poland: eagle; Russia: bear / eagle; Norway: lion; Morocco: lion;
        Kenya: lion; Ethiopia: lion; India: tiger / elephant / lion / dolphin / peacock;
        Thailand: elephant; China: panda / dragon; Australia: kangaroo / emu;
        Canada: beaver / horse; Mexico: eagle;
    """,
}
