"""Chemical elements, companies, and sights and mountains.

One block per relation; `entity: object / other right object;`. Where a block's entities are of
another kind, the relation is one of countries, cities or people (P17, P30).
"""

ENTITIES = {
    "chemical element": """
        hydrogen; helium; lithium; carbon; nitrogen; oxygen; neon; sodium; magnesium; silicon;
        chlorine; potassium; calcium; iron; copper; zinc; silver; iodine; gold; mercury; uranium;
    """,
    "company": """
        Microsoft; Apple; Amazon; Google; Facebook; Tesla; Toyota; Honda; Sony; Nintendo; Samsung;
        Volkswagen; BMW; IKEA; Nokia; Nestlé; Nike; Boeing; Lego; Intel; Ferrari;
    """,
    "place": """
        Big Ben; Buckingham Palace; Westminster Abbey; Trafalgar Square; Times Square; Central Park;
        Red Square; Hagia Sophia; Sagrada Família; Tiananmen Square; Copacabana; Machu Picchu;
        Stonehenge; Angkor Wat; Mount Everest; Mount Fuji; Mount Kilimanjaro; Mount Vesuvius;
    """,
}
ALIASES = ""
FACTS = {
    "P246": """
        hydrogen: H; lithium: Li; carbon: C; nitrogen: N; oxygen: O; neon: Ne; sodium: Na;
        magnesium: Mg; silicon: Si; chlorine: Cl; potassium: K; calcium: Ca; iron: Fe; copper: Cu;
        zinc: Zn; silver: Ag; gold: Au; mercury: Hg; uranium: U;
    """,
    "P1086": """
        hydrogen: 1; helium: 2; lithium: 3; oxygen: 8; sodium: 11; calcium: 20; iron: 26; gold: 79;
        mercury: 80; uranium: 92;
    """,
    "P279": """
        helium: noble gas / nonmetal; neon: noble gas / nonmetal; lithium: alkali metal;
        sodium: alkali metal; calcium: alkaline earth metal; chlorine: halogen / nonmetal;
        iodine: halogen / nonmetal; zinc: transition metal; silver: transition metal;
        carbon: nonmetal; nitrogen: nonmetal / pnictogen; oxygen: nonmetal / chalcogen;
    """,
    "P17": """
        Microsoft: the United States; Amazon: the United States; Google: the United States;
        Toyota: Japan; Honda: Japan; Sony: Japan; Nintendo: Japan; Samsung: South Korea;
        Volkswagen: Germany; BMW: Germany; Nike: the United States; Boeing: the United States;
        Intel: the United States; Ferrari: Italy; Big Ben: England / the United Kingdom;
        Buckingham Palace: England / the United Kingdom; Stonehenge: England / the United Kingdom;
        Red Square: Russia; Machu Picchu: Peru; Angkor Wat: Cambodia; Mount Everest: Nepal / China;
        Mount Fuji: Japan; Mount Kilimanjaro: Tanzania; Mount Vesuvius: Italy;
        Sagrada Família: Spain; Tiananmen Square: China; Copacabana: Brazil;
    """,
    "P30": """
        Stonehenge: Europe; Machu Picchu: South America; Angkor Wat: Asia; Mount Everest: Asia;
        Mount Fuji: Asia; Mount Kilimanjaro: Africa; Mount Vesuvius: Europe; Big Ben: Europe;
    """,
    "P276": """
        Big Ben: London; Buckingham Palace: London; Westminster Abbey: London;
        Trafalgar Square: London; Times Square: New York City; Central Park: New York City;
        Red Square: Moscow; Hagia Sophia: Istanbul; Sagrada Família: Barcelona;
        Tiananmen Square: Beijing; Copacabana: Rio de Janeiro;
    """,
    "P112": """
        Microsoft: Bill Gates / Paul Allen; Apple: Steve Jobs / Steve Wozniak / Ronald Wayne;
        Amazon: Jeff Bezos; Google: Larry Page / Sergey Brin; Facebook: Mark Zuckerberg;
        Tesla: Elon Musk / Martin Eberhard / Marc Tarpenning; Nike: Phil Knight / Bill Bowerman;
        Sony: Akio Morita / Masaru Ibuka; Intel: Gordon Moore / Robert Noyce; Ferrari: Enzo Ferrari;
    """,
    "P1056": """
        Microsoft: software / computers / video games / electronics;
        Apple: computers / phones / software / watches / electronics; Tesla: cars; Toyota: cars;
        Honda: cars / motorcycles / airplanes; Sony: electronics / video games / cameras / phones;
        Nintendo: video games;
        Samsung: electronics / phones / computers / computer chips / cameras / ships / watches;
        Volkswagen: cars; BMW: cars / motorcycles / bicycles; IKEA: furniture / food;
        Nokia: phones / electronics / tires / paper; Nestlé: food / chocolate / coffee;
        Nike: shoes / clothing; Boeing: airplanes; Lego: toys / video games; Intel: computer chips;
        Ferrari: cars;
    """,
}
