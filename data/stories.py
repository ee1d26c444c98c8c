"""Small children's stories from a probabilistic grammar: text whose true entropy is known.

    sample(rng, n)    n stories                 entropy()     E[-log p] in nats a story, exact
    log_prob(text)    log p in nats, exact      count()       how many stories there are
    parse(text)       the choices behind it     mean_words(), max_words()

A rule is `name = option | option`; option i = 1, 2, ... has probability ~ 1 / (2 + i). A rule
chooses once a story: `{hero}` chooses where it is first met and repeats itself from then on, so
names, things and places recur. `{Hero}` begins a sentence, `{a tool}` brings the right article.
`child (he him) = girl / she / her` binds the forms {he} and {him} beside the child, and
`tool by spot` keeps one list of options for each value of `spot`.

A story is 62 words and marks, like a sonnet is 14 lines: whatever is chosen, sentences are 12, 11,
9, 12, 8 and 10 long. With BOS and EOS it fills a row of 64, no row is padded, and a small network
finds the name that has to come again where it always is.

No two derivations give one text (no list holds two options that can go on alike), so the words,
read from left to right, name their choices. `Grammar.parses` sums over derivations all the same.
"""

import math

import numpy as np

from data.grammar import Grammar, words

STORY = """
story = {intro} {time} {he} {tale} {lesson}
intro = {once} {a kind} {child} named {hero}.
once = Once upon a time there was | Long ago in a town lived | By the sea there once lived
    | In a small house there lived | Near a big forest there lived | Not so long ago there was
kind = kind | happy | brave | clever | quiet | funny | curious | eager | gentle | busy
child (he him his) = girl / she / her / her | boy / he / him / his
hero by child
    girl = Lily | Mia | Anna | Sara | Lucy | Emma | Rosie | Zoe | Amy | Kate | Molly | Jane
    boy = Tom | Ben | Max | Sam | Leo | Jack | Tim | Finn | Adam | Luke | Peter | Dan
time = One day | After lunch | One morning | On Sunday | Last summer | One evening
tale (sort theme) = {outing} {plot} / toy / plot
    | {picnic} {beggar} {gift} {joy} / food / giving
    | {find} {owner} {doubt} {reward} / find / honesty
    | {smash} {hide} {guilt} {confess} / vase / truth

outing = {took} {his} {color} {toy} to {place}. | {had} {his} {color} {toy} {at}.
took = took | brought | carried
had = had | held
color = red | blue | little | green | new | yellow | pretty | white
toy (sort) = ball / roll | kite / fly | doll / soft | boat / float | truck / drive | bear / soft
    | balloon / fly | train / drive | hoop / roll | wagon / drive | ship / float | puppet / soft
place (at) by sort
    roll = the park / in the park | the yard / in the yard | the field / in the field
    fly = the hill / on the hill | the beach / on the beach | the field / in the field
    float = the lake / by the lake | the river / by the river | the beach / on the beach
    drive = the yard / in the yard | the farm / at the farm | the garden / in the garden
    soft = the garden / in the garden | the forest / in the forest | the park / in the park
    food = the park / in the park | the lake / by the lake | the farm / at the farm
    find = the beach / on the beach | the forest / in the forest | the river / by the river
plot (theme) by sort
    roll = {stuck} / help | {shared} / sharing | {lost} / looking
    fly = {stuck} / help | {lost} / looking | {shared} / sharing
    float = {stuck} / help | {shared} / sharing | {lost} / looking
    drive = {broken} / mending | {stuck} / help | {shared} / sharing
    soft = {lost} / looking | {broken} / mending | {shared} / sharing

stuck = {jam} {rescue} {freed}
jam = But the {toy} got stuck {spot}. | Soon the {toy} was stuck {spot}.
spot (out) by sort
    roll = in a hole / out | in a tree / down | on the roof / down
    fly = in a tree / down | on the roof / down | on a wall / down
    float = in the grass / out | under the bridge / out | in the mud / out
    drive = in the mud / out | in a hole / out | in the sand / out
rescue = {Hero} felt {sad}, so {helper} brought {a tool}.
    | {Hero} {stayed} until {helper} came with {a tool}.
    | Then {helper} saw this and ran for {a tool}.
tool by out
    down = ladder | net | chair | stick
    out = rope | shovel | hook | stick
freed = With the {tool} they got it {out}. | Together they soon got the {toy} {out}.
    | At last the {color} {toy} was {out}.

broken = {crash} {mend} {mended}
crash by sort
    drive = But soon {a part} broke on {a block}. | Then {a part} came off near {a block}.
    soft = But soon {a part} tore on {a block}. | Then {a part} came off near {a block}.
block by sort
    drive = rock | wall | tree
    soft = bush | fence | nail
part by sort
    drive = wheel | door | light
    soft = arm | leg | ear
mend = {Hero} felt {sad}, so {helper} brought {kit}.
    | {Hero} {stayed} until {helper} came with {kit}.
    | Then {helper} saw this and ran for {kit}.
kit by sort
    drive = some glue | a hammer
    soft = a needle | some tape
mended = Together they put the {part} back on. | Soon the broken {part} was like new.
    | At last they had fixed the {part}.

lost = {gone} {search} {seen}
gone = But soon the {toy} could not be found. | After a short nap the {toy} was gone.
    | Then the {toy} was not there any more.
search = {Hero} felt {sad}, so {helper} came to look.
    | {Hero} {stayed} until {helper} came by to help.
    | Then {helper} saw this and came over to help.
seen = They found the {toy} {hiding}. | At last it was {hiding}. | Together they found it {hiding}.
hiding by place
    the park = under a bench | behind a tree
    the yard = behind the fence | under the steps
    the field = in the hay | behind a rock
    the hill = behind a rock | in a bush
    the beach = in the sand | behind a rock
    the lake = under the bridge | in the grass
    the river = under the bridge | behind a rock
    the garden = under a leaf | in a bush
    the forest = under a log | behind a tree

shared = {wish} {refuse} {turns}
wish = {A shy} {other} named {peer} wanted to play. | Then {a shy} {other} named {peer} came by.
shy = shy | small | lonely | new | young
other (them) = boy / him | girl / her
peer by other
    boy = Omar | Noah | Hugo | Oscar
    girl = Nora | Ella | Ivy | Ruby
refuse = At first {hero} said no, so poor {peer} felt {sad}.
    | But {hero} held it tight, and poor {peer} {stayed}.
turns = So {hero} let {them} hold the {toy}. | Then they shared the {color} {toy} together.
    | In the end they both played together.

picnic = {took} {a fresh} {food} to {place}. | ate {a fresh} {food} {at}.
fresh = sweet | warm | big | fresh | tasty
food = cake | pie | apple | cookie | bun | pear
beggar = Then {a hungry} {animal} came up to {him}.
    | There {a hungry} {animal} looked at the {food}.
    | Soon {a hungry} {animal} smelled the {fresh} {food}.
hungry = hungry | thin | tiny | lost | cold
animal (merry) = puppy / wagged its tail | kitten / began to purr | bird / sang a song
    | duck / flapped its wings | frog / jumped up high | mouse / danced all around
gift = {Hero} felt sorry for the {animal} and shared the {fresh} {food}.
    | {Hero} wanted all the {food} but gave half of it away.
    | {Hero} smiled and gave the {hungry} {animal} some of the {food}.
joy = Soon the happy {animal} {merry}. | The {animal} ate and {merry}.
    | At last the {animal} {merry}.

find = {found} {a gold} {ring} {at}.
found = found | saw | spotted
gold = gold | silver | shiny | tiny | old
ring = ring | coin | key | watch
owner = Then {an elder} asked for {its} {ring}. | Nearby {an elder} looked for {its} {ring}.
    | There {an elder} cried over {its} {ring}.
elder (its who) = old man / his / man | old woman / her / woman | tall farmer / his / farmer
    | kind baker / her / baker | young sailor / his / sailor
doubt = {Hero} wanted to keep the {ring} but told the {who} everything.
    | {Hero} thought for a while and gave the {gold} {ring} back.
reward = The {who} thanked {him} with {a prize}. | So the {who} gave {him} {a prize}.
prize = cookie | flower | hug | apple | book

smash = {broke} {his} {kin}'s {color} {vase}.
broke = broke | dropped
vase = vase | cup | plate | lamp | bowl | clock
hide = {quickly} {he} hid the pieces {nook}.
quickly = Quickly | Then | Quietly
nook = under the bed | behind the door | in a box | under a rug
guilt = {later} {hero} felt so {sad} that {he} could not {rest}.
later = But soon | But later | All day
rest = sleep | play | eat | smile
confess = {He} told {his} {kin} the truth. | {He} said sorry to {his} {kin}.

helper (tie) = {his} {kin} / family | {his} friend {pal} / friends | a kind {neighbor} / people
kin = dear mom | dear dad | old grandma | old grandpa | big sister | big brother
pal = Omar | Nora | Noah | Ella | Hugo | Ivy | Oscar | Ruby
neighbor = farmer | baker | teacher | sailor
sad = sad | bad | upset | unhappy
stayed = sat down | cried hard | stood still

lesson = Then {hero} learned that {moral}. | So {hero} learned that {moral}.
    | Now {hero} knows that {moral}.
moral by theme
    help = {aid}
    mending = broken things can be fixed | it pays to be patient | it helps to stay calm
    looking = it pays to keep looking | you should never give up | lost things often come back
    sharing = it is fun to share | good friends always take turns | toys are better with friends
    giving = it feels good to give | a kind heart makes friends | small gifts mean a lot
    honesty = it pays to be honest | honest people make good friends | being honest is always right
    truth = the truth is always best | saying sorry is always brave | love forgives all our mistakes
aid by tie
    family = a family helps each other | home is full of love
    friends = friends always help each other | good friends are always near
    people = asking for help is good | most people can be kind
"""

__all__ = ["Grammar", "count", "entropy", "log_prob", "parse", "sample", "words"]

STORIES = Grammar(STORY)


def sample(rng: np.random.Generator, n: int) -> list[str]:
    """n stories, independent of each other."""
    return [STORIES.sample(rng) for _ in range(n)]


def log_prob(text: str, grammar: Grammar = STORIES) -> float:
    """log p(text) in nats; -inf where the text is no story, to the last letter."""
    found = [log_p for log_p, _ in grammar.parses(text)]
    return float(np.logaddexp.reduce(found)) if found else -math.inf


def parse(text: str, grammar: Grammar = STORIES) -> dict[str, str] | None:
    """Rule -> the option chosen, as it stands in the grammar ("hero": "Lily"); None: no story."""
    return next((choices for _, choices in grammar.parses(text)), None)


def entropy(grammar: Grammar = STORIES) -> float:
    """E[-log p(text)], nats a story, exactly. An EOS and padding behind it add nothing."""
    return grammar.fold(0.0, lambda n, v: v, lambda pv: sum(p * (v - math.log(p)) for p, v in pv))


def count(grammar: Grammar = STORIES) -> int:
    """How many stories there are."""
    return grammar.fold(1, lambda n, v: v, lambda pv: sum(v for _, v in pv))


def mean_words(grammar: Grammar = STORIES) -> float:
    """E[words and punctuation marks of a story], exactly."""
    return grammar.fold(0.0, lambda n, v: n + v, lambda pv: sum(p * v for p, v in pv))


def max_words(grammar: Grammar = STORIES) -> int:
    """Words and punctuation marks of the longest story."""
    return grammar.fold(0, lambda n, v: n + v, lambda pv: max(v for _, v in pv))
