"""Books, plays and poems: author, language, country, form, setting, character, century.

One block per relation; `entity: object / other right object;`.
"""

KIND = "work"
ENTITIES = """
Hamlet; Romeo and Juliet; Macbeth; Don Quixote; War and Peace; Anna Karenina;
Crime and Punishment; Pride and Prejudice; Moby-Dick; The Odyssey; The Iliad;
The Divine Comedy; Frankenstein; Dracula; The Great Gatsby; Oliver Twist;
A Tale of Two Cities; Robinson Crusoe; Alice's Adventures in Wonderland; Animal Farm;
Nineteen Eighty-Four; The Hobbit; Les Misérables; Faust; The Metamorphosis;
To Kill a Mockingbird; Gulliver's Travels; Jane Eyre; The Little Prince
"""
ALIASES = """
Alice's Adventures in Wonderland: Alice in Wonderland; Nineteen Eighty-Four: 1984
"""
FACTS = {
    "P50": """
        Hamlet: William Shakespeare; Romeo and Juliet: William Shakespeare;
        Macbeth: William Shakespeare; Don Quixote: Miguel de Cervantes; War and Peace: Leo Tolstoy;
        Crime and Punishment: Fyodor Dostoevsky; Pride and Prejudice: Jane Austen;
        Moby-Dick: Herman Melville; The Odyssey: Homer; The Iliad: Homer;
        The Divine Comedy: Dante Alighieri; Frankenstein: Mary Shelley; Dracula: Bram Stoker;
        The Great Gatsby: F. Scott Fitzgerald; Oliver Twist: Charles Dickens;
        A Tale of Two Cities: Charles Dickens; Animal Farm: George Orwell;
        Nineteen Eighty-Four: George Orwell; The Hobbit: J. R. R. Tolkien;
        Les Misérables: Victor Hugo; Faust: Johann Wolfgang von Goethe;
        The Metamorphosis: Franz Kafka; To Kill a Mockingbird: Harper Lee;
        Gulliver's Travels: Jonathan Swift; Jane Eyre: Charlotte Brontë;
    """,
    "P407": """
        Hamlet: English; Romeo and Juliet: English; Macbeth: English; Don Quixote: Spanish;
        War and Peace: Russian; Anna Karenina: Russian; Crime and Punishment: Russian;
        Pride and Prejudice: English; Moby-Dick: English; The Odyssey: Greek; The Iliad: Greek;
        The Divine Comedy: Italian; Frankenstein: English; Les Misérables: French; Faust: German;
        The Metamorphosis: German; The Little Prince: French; The Great Gatsby: English;
        Gulliver's Travels: English;
    """,
    "P495": """
        Hamlet: England; Romeo and Juliet: England; Macbeth: England; Don Quixote: Spain;
        War and Peace: Russia; Anna Karenina: Russia;
        Pride and Prejudice: England / the United Kingdom; Moby-Dick: the United States;
        The Odyssey: Greece; The Iliad: Greece; The Divine Comedy: Italy;
        Frankenstein: England / the United Kingdom / Switzerland;
        Oliver Twist: England / the United Kingdom; The Great Gatsby: the United States;
        Les Misérables: France; Faust: Germany;
        Gulliver's Travels: Ireland / England / the United Kingdom;
        To Kill a Mockingbird: the United States; The Little Prince: France / the United States;
        Robinson Crusoe: England / the United Kingdom;
    """,
    "P7937": """
        Hamlet: play / tragedy; Romeo and Juliet: play / tragedy; Macbeth: play / tragedy;
        Don Quixote: novel; War and Peace: novel; Anna Karenina: novel; Crime and Punishment: novel;
        Pride and Prejudice: novel; Moby-Dick: novel; The Odyssey: epic / poem;
        The Iliad: epic / poem; The Divine Comedy: epic / poem; Faust: play / tragedy / poem;
        The Metamorphosis: novella / story; Animal Farm: novella / fable / novel / story;
        The Great Gatsby: novel;
    """,
    "P136": """
        Hamlet: tragedy / poetry; Romeo and Juliet: tragedy / romance / poetry;
        Macbeth: tragedy / poetry; Pride and Prejudice: romance / comedy / satire;
        Frankenstein: horror / science fiction; Dracula: horror; The Hobbit: fantasy / adventure;
        Alice's Adventures in Wonderland: fantasy / adventure;
        Nineteen Eighty-Four: science fiction / dystopia / satire;
        The Odyssey: epic / poetry / adventure; Jane Eyre: romance / mystery / horror;
    """,
    "P840": """
        Hamlet: Denmark; Romeo and Juliet: Verona / Italy; Macbeth: Scotland / England;
        Don Quixote: Spain; War and Peace: Russia; Anna Karenina: Russia / Saint Petersburg / Italy;
        Pride and Prejudice: England; Oliver Twist: London / England;
        The Hobbit: Middle-earth / the Shire; Les Misérables: Paris / France;
    """,
    "P674": """
        Pride and Prejudice: Elizabeth Bennet / Mr. Darcy / Mr. Bingley / Mr. Collins;
        The Odyssey: Odysseus / Penelope / Telemachus / Polyphemus / Calypso;
        The Iliad: Achilles / Hector / Paris / Helen / Agamemnon / Odysseus;
        The Divine Comedy: Dante / Virgil / Beatrice; Frankenstein: Victor;
        The Great Gatsby: Jay Gatsby / Nick Carraway / Daisy Buchanan / Tom Buchanan;
        Animal Farm: Snowball / Napoleon / Boxer / Squealer;
        Nineteen Eighty-Four: Winston Smith / Big Brother;
        The Hobbit: Bilbo Baggins / Gandalf / Gollum / Smaug / Thorin;
        To Kill a Mockingbird: Atticus Finch / Scout / Boo Radley / Jem;
    """,
    "P571": """
        Romeo and Juliet: 16th century; Macbeth: 17th century; Don Quixote: 17th century;
        War and Peace: 19th century; Anna Karenina: 19th century;
        Crime and Punishment: 19th century; Pride and Prejudice: 19th century / 18th century;
        Moby-Dick: 19th century; Frankenstein: 19th century; Dracula: 19th century;
        Oliver Twist: 19th century; Robinson Crusoe: 18th century; Les Misérables: 19th century;
        Gulliver's Travels: 18th century; The Great Gatsby: 20th century; Animal Farm: 20th century;
        The Hobbit: 20th century; The Divine Comedy: 14th century;
    """,
}
