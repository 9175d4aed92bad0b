"""Chemical elements, companies, and sights and mountains.

One block per relation; `entity: object / other right object;`. Where a block's entities are of
another kind, the relation is one of countries, cities or people (P17, P30).
"""

ENTITIES = {
    "chemical element": """
        hydrogen; helium; lithium; carbon; nitrogen; oxygen; neon; sodium; magnesium; silicon;
        chlorine; potassium; calcium; iron; copper; zinc; silver; iodine; gold; mercury; uranium
    """,
    "company": """
        Microsoft; Apple; Amazon; Google; Facebook; Tesla; Toyota; Honda; Sony; Nintendo; Samsung;
        Volkswagen; BMW; IKEA; Nokia; Nestlé; Nike; Boeing; Lego; Intel; Ferrari
    """,
    "place": """
        Big Ben; Buckingham Palace; Westminster Abbey; Trafalgar Square; Times Square;
        Central Park; Red Square; Hagia Sophia; Machu Picchu; Stonehenge; Angkor Wat;
        Mount Everest; Mount Fuji; Mount Kilimanjaro; Mount Vesuvius; Mount Olympus
    """,
}
ALIASES = ""
FACTS = {
    "P246": """
        hydrogen: H; lithium: Li; carbon: C; nitrogen: N; oxygen: O; neon: Ne;
        sodium: Na; magnesium: Mg; silicon: Si; chlorine: Cl; potassium: K; calcium: Ca; iron: Fe;
        copper: Cu; zinc: Zn; silver: Ag; gold: Au; mercury: Hg; uranium: U;
    """,
    "P1086": """
        hydrogen: 1; helium: 2; lithium: 3; carbon: 6; nitrogen: 7; oxygen: 8; neon: 10;
        sodium: 11; magnesium: 12; silicon: 14; chlorine: 17; potassium: 19; calcium: 20; iron: 26;
        copper: 29; zinc: 30; silver: 47; iodine: 53; gold: 79; mercury: 80; uranium: 92;
    """,
    "P279": """
        helium: noble gas; neon: noble gas; lithium: alkali metal; sodium: alkali metal;
        potassium: alkali metal; magnesium: alkaline earth metal; calcium: alkaline earth metal;
        chlorine: halogen; iodine: halogen; iron: transition metal; copper: transition metal;
        zinc: transition metal; silver: transition metal; gold: transition metal;
        mercury: transition metal; silicon: metalloid; uranium: actinide;
        carbon: nonmetal; nitrogen: nonmetal / pnictogen; oxygen: nonmetal / chalcogen;
    """,
    "P17": """
        Microsoft: the United States; Amazon: the United States; Google: the United States;
        Toyota: Japan; Honda: Japan; Sony: Japan; Nintendo: Japan; Samsung: South Korea;
        Volkswagen: Germany; BMW: Germany; IKEA: Sweden / the Netherlands; Nokia: Finland;
        Nestlé: Switzerland; Nike: the United States; Boeing: the United States;
        Lego: Denmark; Intel: the United States; Ferrari: Italy;
        Big Ben: England / the United Kingdom; Buckingham Palace: England / the United Kingdom;
        Stonehenge: England / the United Kingdom; Red Square: Russia; Hagia Sophia: Turkey;
        Machu Picchu: Peru; Angkor Wat: Cambodia; Mount Everest: Nepal / China;
        Mount Fuji: Japan; Mount Kilimanjaro: Tanzania; Mount Vesuvius: Italy;
        Mount Olympus: Greece;
    """,
    "P30": """
        Stonehenge: Europe; Machu Picchu: South America; Angkor Wat: Asia; Mount Everest: Asia;
        Mount Fuji: Asia; Mount Kilimanjaro: Africa; Mount Vesuvius: Europe; Big Ben: Europe;
    """,
    "P276": """
        Big Ben: London; Buckingham Palace: London; Westminster Abbey: London;
        Trafalgar Square: London; Times Square: New York City; Central Park: New York City;
        Red Square: Moscow; Hagia Sophia: Istanbul;
    """,
    "P159": """
        Microsoft: Redmond; Apple: Cupertino; Amazon: Seattle; Google: Mountain View;
        Facebook: Menlo Park; Honda: Tokyo; Sony: Tokyo; Nintendo: Kyoto; Samsung: Seoul / Suwon;
        Volkswagen: Wolfsburg; BMW: Munich; Nokia: Espoo; Nestlé: Vevey; Nike: Beaverton;
        Intel: Santa Clara; Ferrari: Maranello; Lego: Billund;
    """,
    "P112": """
        Microsoft: Bill Gates / Paul Allen; Apple: Steve Jobs / Steve Wozniak / Ronald Wayne;
        Amazon: Jeff Bezos; Google: Larry Page / Sergey Brin; Facebook: Mark Zuckerberg;
        Tesla: Elon Musk / Martin Eberhard / Marc Tarpenning; IKEA: Ingvar Kamprad;
        Nike: Phil Knight / Bill Bowerman; Sony: Akio Morita / Masaru Ibuka;
        Intel: Gordon Moore / Robert Noyce; Nestlé: Henri Nestlé; Ferrari: Enzo Ferrari;
        Toyota: Kiichiro Toyoda; Nintendo: Fusajiro Yamauchi; Boeing: William Boeing;
    """,
    "P1056": """
        Microsoft: software; Apple: computers / phones; Tesla: cars; Toyota: cars;
        Honda: cars / motorcycles; Sony: electronics / video games; Nintendo: video games;
        Samsung: electronics / phones; Volkswagen: cars; BMW: cars / motorcycles;
        IKEA: furniture; Nokia: phones; Nestlé: food / chocolate / coffee; Nike: shoes / clothing;
        Boeing: airplanes; Lego: toys; Intel: computer chips; Ferrari: cars;
    """,
}
