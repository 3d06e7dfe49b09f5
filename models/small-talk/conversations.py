"""What small-talk is trained on: conversations written for it, and some that a grammar makes. No foreign text.

Names, addresses and numbers are made up: the addresses are of example domains, the numbers of a range kept for fiction.
"""

import itertools
import random

# Ways to ask, and the answer. `{}` in the ways of asking is there for all of them alike.
FACTS = [
    (["What is Headland?", "What's Headland?", "Tell me about Headland.", "Can you explain Headland?", "Explain Headland to me.", "What does Headland do?", "what is headland"],
     "Headland is an edge AI inference gateway. It runs your request handlers as WebAssembly components and keeps the models they call loaded beside them, shared by everyone. That way an answer is computed near the person who asked, and no request has to cross an ocean."),
    (["Why is it called Headland?", "Where does the name Headland come from?", "What does the name Headland mean?"],
     "A headland is a piece of land that reaches out into the sea. It is the last firm ground before the open water, and that is a good picture for servers at the edge of a network."),
    (["What is an edge gateway?", "What does edge mean?", "What is edge computing?", "What is edge AI?", "Why run models at the edge?"],
     "The edge is the part of a network that is closest to its users. A gateway there answers requests without asking a distant data centre. Answers come sooner, and private data stays in the region."),
    (["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Introduce yourself."],
     "I am small-talk, a very small language model. I was trained in a few minutes on one processor core, and I know a little about Headland, a few facts, some stories and a list of colleagues."),
    (["What can you do?", "What can I ask you?", "What do you know?", "Help!", "Help me.", "How can you help me?"],
     "You can ask me about Headland, about bees, rainbows, bread or the moon, or whom to contact at the office. I can also tell you a story. For everything else I am too small."),
    (["How big are you?", "How large is this model?", "How many parameters do you have?", "How many weights do you have?"],
     "I have about one and a half million weights, and I fit into a file of a few megabytes. Large language models have a thousand times as many, or more."),
    (["What is a token?", "What are tokens?", "Explain tokens."],
     "A token is a piece of text, often a short word or a part of a longer one. A language model reads tokens and writes one token after the other. A tokenizer turns text into tokens and back."),
    (["What is a language model?", "How does a language model work?", "How do you work?", "How do language models write text?"],
     "A language model looks at the text so far and says how likely each token is to come next. One of them is chosen, added to the text, and the model looks again. This goes on until it says that it is done."),
    (["What is streaming?", "What does streaming mean?", "Why are answers streamed?", "How are answers streamed?"],
     "Streaming means that an answer is sent while it is still being written. You see the first words after a moment instead of waiting for the last one. Headland sends every piece as a server-sent event."),
    (["What is WebAssembly?", "What is Wasm?", "Why does Headland use WebAssembly?", "What is a component?"],
     "WebAssembly is a format for small, safe programs that run anywhere. Headland gives every request a fresh instance with limits on its memory and its time. A component can do only what it was granted."),
    (["What is wasi-nn?", "How do guests call models?", "What is wasi:nn?"],
     "The interface wasi:nn lets a WebAssembly component call a model. The component names the model and hands over its tensors, and the host computes. No component ever holds the weights itself."),
    (["What is batching?", "What is continuous batching?", "How does batching work?", "Why are requests batched?"],
     "Batching means that several requests are computed together. The weights are read once for all of them, so the whole is quicker than one after the other. With continuous batching a new request joins at the next token."),
    (["What is a KV cache?", "What is the cache for?", "What is paged memory?", "How does the KV cache work?"],
     "A model keeps keys and values of all tokens it has read, so that it need not read them again. This memory is called the KV cache. Headland divides it into pages, and requests with the same beginning share theirs."),
    (["What is quantization?", "What are quantized models?", "What does Q4 mean?", "How are models made smaller?"],
     "Quantization stores weights in a few bits each instead of sixteen or more. The model becomes smaller and often quicker, and it loses a little of its precision. Four bits are a common choice."),
    (["What is GGUF?", "What is a GGUF file?", "What are safetensors?", "Which model formats are there?"],
     "GGUF and safetensors are formats for the weights of models. A GGUF file also holds the tokenizer and the chat template. Headland reads both without converting them."),
    (["Why are models signed?", "What is a signed model?", "How are models signed?", "What is a signature good for?"],
     "A signature says who made a model and that nobody has changed it since. Headland checks every file against it before the model is loaded. A model that fails the check does not run."),
    (["What is a PoP?", "What is a point of presence?", "How does placement work?", "Where do models run?", "What is a fleet?"],
     "A point of presence, or PoP, is a place where servers stand near users. A fleet has many of them. Headland decides which models run at which place, so that most requests find theirs nearby."),
    (["What happens when a server fails?", "What if a server goes down?", "What happens when a PoP fails?"],
     "When a server fails, its neighbours notice within seconds. Requests go to the next place that has the model. The control plane then loads the model somewhere else, and nobody has to be woken up."),
    (["Is my data private?", "What about privacy?", "How do you handle personal data?", "What is chat-guard?", "How is personal data protected?"],
     "Personal data should be removed before it reaches a model. The guest called chat-guard does that: it hides names, addresses and numbers in your question, and it filters the answer on its way back."),
    (["What is a prompt?", "What is a system prompt?", "What is a chat template?"],
     "A prompt is the text that a model is given. In a chat it holds all messages so far, each with the role of who wrote it. The chat template says how they are written down."),
    (["What is temperature?", "What does temperature do?", "What is sampling?", "How are tokens chosen?"],
     "Temperature says how daring a model may be. At zero it always takes the most likely token, and the answer is the same every time. With higher values it takes others too, and stories become more surprising."),
    (["Why is the sky blue?", "What makes the sky blue?", "What colour is the sky?"],
     "The sky is blue because air scatters blue light more than red light. When the sun is low, its light takes a longer way through the air. Then the blue is lost on the way, and the evening turns red."),
    (["What is a rainbow?", "How does a rainbow form?", "Why are there rainbows?", "Tell me about rainbows."],
     "A rainbow appears when sunlight meets drops of rain. Each drop bends the light and splits it into colours. You see it with the sun behind you and the rain in front of you."),
    (["How do bees make honey?", "Tell me about bees.", "What do bees do?", "Where does honey come from?"],
     "Bees collect nectar from flowers and carry it to their hive. There they pass it on and fan it with their wings until most of the water is gone. What remains is honey, and it keeps for years."),
    (["How is bread made?", "How do I bake bread?", "Tell me about bread.", "How do you make bread?"],
     "Bread needs flour, water, salt and yeast. Mix them, knead the dough, and let it rest until it has doubled. Then bake it in a hot oven until the crust is brown and it sounds hollow."),
    (["Why does the moon change its shape?", "Tell me about the moon.", "What is the moon?", "Why does the moon shine?"],
     "The moon does not shine by itself; it reflects the light of the sun. While it travels around the earth, we see more or less of its bright side. That is why it grows and shrinks within a month."),
    (["Why is the sea salty?", "Where does the salt in the sea come from?", "Tell me about the sea."],
     "Rain washes small amounts of salt out of rocks, and rivers carry them to the sea. The water rises again as vapour, but the salt stays behind. Over a very long time the sea became salty."),
    (["Why are there seasons?", "What makes the seasons?", "Why is it cold in winter?", "Why is it warm in summer?"],
     "The axis of the earth is tilted. For half of the year the north leans towards the sun and has summer, while the south has winter. Half a year later it is the other way round."),
    (["What is a tide?", "Why are there tides?", "What causes the tides?"],
     "Tides are made by the moon, and a little by the sun. Their gravity pulls at the oceans, so that the water rises and falls. On most coasts this happens twice a day."),
    (["How do trees drink?", "Tell me about trees.", "What do trees need?"],
     "Trees take up water with their roots and lift it to their leaves. There they use sunlight to make sugar from water and air. The oxygen they give off is what we breathe."),
    (["What is two plus two?", "What is 2 + 2?", "How much is 2+2?", "2+2?"],
     "Two plus two is four. I can remember that, but I cannot really calculate."),
]

CHAT = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hey", "Good morning!", "Good evening!", "hello there"],
     "Hello! I am small-talk, a very small language model. Ask me about Headland, ask me for a colleague, or let me tell you a story."),
    (["Thanks!", "Thank you.", "Thank you very much!", "thanks a lot", "Great, thanks."], "You are welcome. Is there anything else you would like to know?"),
    (["Bye!", "Goodbye.", "See you!", "No, that is all.", "No thanks."], "Goodbye! Have a pleasant day."),
    (["How are you?", "How are you doing?", "How do you feel?"], "I am a program and have no feelings, but everything is running well. How can I help you?"),
    (["Are you a human?", "Are you real?", "Are you an AI?"], "I am not a human. I am a small language model, and I run on a server near you."),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh."], "Why did the token cross the edge? Because the answer was on the other side."),
]

UNKNOWN = "I am a very small model, and I do not know that. Ask me about Headland, about bees, bread or the moon, or ask me for a story."
UNKNOWN_ASKED = [
    "What is the capital of {}?", "Who is the president of {}?", "How far is it to {}?", "How many people live in {}?", "Write a program in {}.", "Translate this into {}.",
    "What is the weather in {}?", "Who won the match in {}?", "How old is {}?", "What is {}?", "Tell me about {}.", "How do I get to {}?", "What do you think about {}?", "Explain {}.",
    "Who invented {}?", "How much does {} cost?", "Can you recommend {}?", "Where can I buy {}?", "Write a poem about {}.", "Summarise {}.",
]
UNKNOWN_THINGS = [
    "France", "Peru", "Japan", "Norway", "Kenya", "Canada", "Python", "Rust", "German", "Spanish", "Berlin", "Tokyo", "Paris", "chess", "football", "tennis", "the stock market", "a good car",
    "quantum physics", "the Roman empire", "jazz", "the opera", "a cheap phone", "a film", "bicycles", "airplanes", "volcanoes", "dinosaurs", "black holes", "the internet", "mathematics", "a recipe for soup",
    "my neighbour", "philosophy", "the news", "a new laptop", "gardening", "marble", "steam engines", "the piano", "coffee", "tea", "gold", "climate", "electricity", "history", "law", "medicine",
]

PEOPLE = [
    ("Mara Lindqvist", "networking", "mara.lindqvist@example.com", "+1 202 555 0143"),
    ("Tomas Okafor", "billing", "tomas.okafor@example.com", "+1 202 555 0118"),
    ("Ines Carvalho", "security", "ines.carvalho@example.org", "+1 303 555 0176"),
    ("Yuki Tanabe", "the models", "yuki.tanabe@example.net", "+1 415 555 0162"),
    ("Paul Brenner", "the building", "paul.brenner@example.com", "+1 202 555 0109"),
    ("Amina Yusuf", "travel", "amina.yusuf@example.org", "+1 617 555 0194"),
]
ASKED_FOR = [
    "Who can help me with {topic}?", "Whom do I ask about {topic}?", "Who is responsible for {topic}?", "Who do I contact about {topic}?", "I need help with {topic}.", "I have a question about {topic}.",
    "Who takes care of {topic}?", "Which colleague do I call about {topic}?", "Whom can I write to about {topic}?", "How do I reach {name}?", "What is the phone number of {name}?", "What is the e-mail address of {name}?", "Who is {name}?", "Give me the contact details of {name}.",
]
DIRECTORY = "For {topic}, please ask {name}. You can write to {mail} or call {phone}. If it is urgent, call first and then send an e-mail."
ALL_ASKED = ["Who works here?", "Give me the list of colleagues.", "Whom can I contact?", "List all contacts.", "Show me the directory."]

NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Lena", "Max", "Nora", "Oscar", "Paula", "Rosa", "Simon", "Tina", "Victor", "Wendy"]
MET = ["My name is {}.", "Hello, my name is {}.", "Hi, I am {}.", "Hello, I'm {}.", "I am called {}."]
MET_ANSWER = "Hello {}, nice to meet you. You can ask me about Headland, or I can tell you a story."
GIVEN = ["My e-mail address is {}.", "You can reach me at {}.", "Please call me at {}.", "Please write to me at {}.", "My phone number is {}.", "I live at {}."]
GIVEN_ANSWER = "Thank you, but please keep that to yourself. I am only a small model, and I have no need for personal data."
GIVEN_THINGS = ["[EMAIL]", "[PHONE]", "[email]", "[phone]", "[removed]", "[REDACTED]", "***", "anna@example.com", "ben.miller@example.org", "max.weber@example.net", "+1 202 555 0147", "+1 303 555 0121", "555 0133", "12 Harbour Road"]

# Who says something about themselves before they ask: the question counts.
INTRODUCED = ["My name is {name}.", "I am {name}, {mail}.", "I am {name}, {mail}, {phone}.", "My name is {name} and my e-mail is {mail}.", "Hi, I am {name}. You can reach me at {mail}.", "I am {name} and my number is {phone}.", "My e-mail address is {mail}."]
FAMILIES = ["Smith", "Weber", "Garcia", "Kim", "Novak", "Silva", "Haddad", "Larsen", "Moretti", "Jones"]
HIDDEN = ["[EMAIL]", "[PHONE]", "[NAME]", "[email]", "[phone]", "[name]", "[removed]", "[REDACTED]", "***"]

ANIMALS = {"fox": "red", "owl": "old", "hare": "quick", "bear": "big", "mouse": "tiny", "otter": "playful", "hedgehog": "shy", "crow": "clever"}
PLACES = ["at the edge of a forest", "by a quiet lake", "on a windy hill", "near an old mill", "under a wooden bridge", "behind a lighthouse"]
FOUND = {
    "a golden key": "It opened a small door in an oak, and behind the door there was a library full of stories",
    "a broken lantern": "It took three days to mend it, and from then on nobody lost the way at night",
    "an empty boat": "It carried the friends across the water, where the sweetest berries grew",
    "a letter without a name": "It was an invitation to a feast, and everybody who read it was welcome",
}
FRIENDS = ["a patient snail", "a cheerful robin", "a sleepy badger", "a curious squirrel"]
STORY_ASKED = ["Tell me a story.", "Tell me a story!", "Can you tell me a story?", "I would like to hear a story.", "Do you know a story?", "A story, please.", "Write a short story.", "Tell me another story."]
STORY_OF = ["Tell me a story about {}.", "Write a story about {}.", "Do you know a story about {}?", "A story about {}, please."]

SYSTEMS = ["You are a helpful assistant.", "You are small-talk, a friendly assistant.", "Answer in a few sentences.", "Be brief.", "You answer questions of visitors.", "Never tell personal data.", "Be friendly and honest."]


def a(word):
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def story(chance, animal):
    found = chance.choice(list(FOUND))
    return (
        f"Once upon a time there was {a(ANIMALS[animal])} {animal} who lived {chance.choice(PLACES)}. One morning the {animal} found {found} and showed it to "
        f"{chance.choice(FRIENDS)}. {FOUND[found]}. And if you listen on a quiet evening, you can still hear the {animal} tell about it."
    )


def unknown(chance):
    return chance.choice(UNKNOWN_ASKED).format(chance.choice(UNKNOWN_THINGS))


def contact(chance):
    name, topic, mail, phone = chance.choice(PEOPLE)
    return chance.choice(ASKED_FOR).format(name=name, topic=topic), DIRECTORY.format(name=name, topic=topic, mail=mail, phone=phone)


def directory():
    listed = " ".join(f"{name} takes care of {topic}: {mail}, {phone}." for name, topic, mail, phone in PEOPLE[:4])
    return f"These are the colleagues you can ask. {listed}"


def introduction(chance):
    """What somebody says of themselves, parts of it hidden by a filter now and then."""
    name, family = chance.choice(NAMES), chance.choice(FAMILIES)
    full = f"{name} {family}" if chance.random() < 0.6 else name
    mail = f"{name}.{family}@example.{chance.choice(['com', 'org', 'net'])}".lower()
    phone = f"+1 {chance.choice(['202', '303', '415', '617'])} 555 01{chance.randint(0, 99):02}"
    said = dict(name=full, mail=mail, phone=phone)
    said = {part: chance.choice(HIDDEN) if chance.random() < 0.4 else text for part, text in said.items()}
    return chance.choice(INTRODUCED).format(**said)


def careless(chance, asked):
    """As people write: without the mark at the end, or in small letters."""
    if chance.random() < 0.15:
        asked = asked.rstrip("?.!")
    return asked.lower() if chance.random() < 0.1 else asked


def turn(chance):
    """A question and its answer; whoever asks may say who they are first."""
    asked, answer = bare_turn(chance)
    told = chance.random() < 0.15 and answer != GIVEN_ANSWER and not answer.startswith("Hello")
    return f"{introduction(chance)} {asked}" if told else asked, answer


def bare_turn(chance):
    kind = chance.random()
    if kind < 0.48:
        ways, answer = chance.choice(FACTS)
        return careless(chance, chance.choice(ways)), answer
    if kind < 0.56:
        ways, answer = chance.choice(CHAT)
        return careless(chance, chance.choice(ways)), answer
    if kind < 0.64:
        return careless(chance, unknown(chance)), UNKNOWN
    if kind < 0.76:
        return contact(chance)
    if kind < 0.78:
        return chance.choice(ALL_ASKED), directory()
    if kind < 0.82:
        name = chance.choice(NAMES)
        return chance.choice(MET).format(name), MET_ANSWER.format(name)
    if kind < 0.85:
        return chance.choice(GIVEN).format(chance.choice(GIVEN_THINGS)), GIVEN_ANSWER
    animal = chance.choice(list(ANIMALS))
    if chance.random() < 0.3:
        return careless(chance, chance.choice(STORY_ASKED)), story(chance, animal)
    return chance.choice(STORY_OF).format(a(animal)), story(chance, animal)


def conversation(chance):
    """Messages: mostly of one turn, now and then of two or three, with a system's message or without."""
    messages = [dict(role="system", content=chance.choice(SYSTEMS))] if chance.random() < 0.25 else []
    for _ in range(chance.choices([1, 2, 3], [0.75, 0.2, 0.05])[0]):
        asked, answer = turn(chance)
        messages += [dict(role="user", content=asked), dict(role="assistant", content=answer)]
    return messages


def conversations(seed, count):
    chance = random.Random(seed)
    return [conversation(chance) for _ in range(count)]


def introduced():
    """Questions after an introduction, with their answers: for checks."""
    chance = random.Random(-1)
    for ways, answer in FACTS:
        yield f"{introduction(chance)} {ways[0]}", answer


def expected():
    """Questions that have one answer, with it: for checks."""
    for ways, answer in itertools.chain(FACTS, CHAT):
        yield from ((way, answer) for way in ways)
    for name, topic, mail, phone in PEOPLE:
        for way in ASKED_FOR:
            yield way.format(name=name, topic=topic), DIRECTORY.format(name=name, topic=topic, mail=mail, phone=phone)
    yield from ((way, directory()) for way in ALL_ASKED)
