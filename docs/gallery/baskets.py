# %% [markdown]
# # What lies in a basket
#
# item2vec: baskets in place of sentences (Barkan and Koenigstein 2016). A basket has no order, so `window=None` trains
# every item with every other one of it. The baskets are drawn at random here, so that we know what there is to find:
# somebody comes for breakfast, for a barbecue, ..., and takes one kind of everything that belongs to it: butter or
# margarine, not both.

# %%
import argparse
import random

import numpy as np

from torchw2v import TorchWord2Vec, plot

parser = argparse.ArgumentParser()
parser.add_argument("--small", action="store_true", help="few baskets, for a try")
args = parser.parse_args()
ERRANDS = {
    "breakfast": "bread|rolls|toast butter|margarine jam|honey|marmalade coffee|tea milk|cream",
    "pasta": "spaghetti|penne|tagliatelle tomatoes|passata parmesan|pecorino basil|oregano olives|capers",
    "barbecue": "sausages|steaks|burgers charcoal|briquettes mustard|ketchup salad|coleslaw beer|lemonade",
    "baking": "flour|spelt sugar|syrup yeast|soda eggs|egg-powder vanilla|cinnamon",
    "baby": "diapers|nappies wipes|lotion porridge|puree bottles|pacifiers",
    "cleaning": "soap|detergent sponges|brushes bleach|vinegar bags|foil",
}
STAPLES = ["water", "apples", "onions", "chocolate", "newspaper"]
draw = random.Random(1)


def basket(errand):
    """What somebody takes home: most of what the errand needs, one kind of each, and something for all days."""
    kinds = [kind.split("|") for kind in ERRANDS[errand].split() if draw.random() < 0.8]
    items = [draw.choice(kind) for kind in kinds] + draw.sample(STAPLES, draw.randint(0, 2))
    return draw.sample(items, len(items))


errands = draw.choices(list(ERRANDS), k=500 if args.small else 20_000)
baskets = [found for errand in errands if len(found := basket(errand)) > 1]
print(f"{len(baskets):,} baskets of {np.mean([len(items) for items in baskets]):.1f} items; the first: {baskets[0]}")

# %% [markdown]
# The last item of every tenth basket is hidden, to be guessed.

# %%
asked = [(items[:-1], items[-1]) for items in baskets[::10]]
known = [items for number, items in enumerate(baskets) if number % 10]
model = TorchWord2Vec(known, window=None, vector_size=24, min_count=1, sg=1, sample=0, epochs=5, workers=1, seed=1)

# %% [markdown]
# ## In place of, and beside
#
# Each item has two rows. Near in `wv` are those that have the same company: taken *in place of* it. Near its row among
# the `output_vectors` are those that are taken *beside* it. gensim shows the first only.

# %%
for item in ("butter", "sausages", "flour", "diapers"):
    instead = [other for other, _ in model.wv.most_similar(item, topn=3)]
    beside = [other for other, _ in model.output_vectors.similar_by_vector(model.wv[item], topn=4)]
    print(f"{item}\n  in place of it: {', '.join(instead)}\n  beside it:      {', '.join(beside)}")

# %% [markdown]
# ## Guessing what is missing
#
# The mean of what is in the basket, then the outputs that it predicts, against the most popular items.


# %%
def guesses(items, count):
    """The items that fit best beside these."""
    scores = model.output_vectors.vectors @ model.wv[items].mean(0)
    scores[[model.wv.key_to_index[item] for item in items]] = -np.inf
    return [model.wv.index_to_key[row] for row in np.argsort(-scores)[:count]]


popular = model.wv.index_to_key  # most frequent first
ours = np.mean([hidden in guesses(items, 5) for items, hidden in asked])
theirs = np.mean([hidden in [item for item in popular if item not in items][:5] for items, hidden in asked])
print(f"hidden item among 5 guesses: {ours:.1%}; among the 5 most popular: {theirs:.1%} ({len(asked):,} baskets)")

# %%
errand_of = {item: errand for errand, kinds in ERRANDS.items() for item in kinds.replace("|", " ").split()}
errand_of |= dict.fromkeys(STAPLES, "every day")
plot.word_map(model.wv, errand_of, groups=errand_of, figsize=(8, 6)).savefig("map.png", dpi=90)
