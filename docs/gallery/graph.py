# %% [markdown]
# # Walks on a graph
#
# node2vec: walk at random over a graph, take the walks for sentences, and nodes that are visited together get near
# vectors (Grover and Leskovec 2016). The graph is *Les Misérables*, which networkx carries: 77 characters, an edge
# where two of them share a chapter, weighted by how many.

# %%
import argparse
import random

import networkx
import numpy as np

from torchw2v import TorchWord2Vec, plot

parser = argparse.ArgumentParser()
parser.add_argument("--small", action="store_true", help="few walks, for a try")
args = parser.parse_args()
graph = networkx.les_miserables_graph()
print(f"{graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges")

# %% [markdown]
# ## The walks
#
# A step's weight is divided by `p` where it leads back, and by `q` where it leads away from the node before. A corpus
# that is iterated anew for each epoch can draw new walks every time: it is read chunk by chunk, in the background, and
# never kept.


# %%
class Walks:
    """Random walks from every node, other ones whenever they are iterated."""

    def __init__(self, graph, walks, length, p=1.0, q=1.0, seed=1):
        self.graph, self.walks, self.length, self.p, self.q = graph, walks, length, p, q
        self.random = random.Random(seed)

    def __iter__(self):
        for _ in range(self.walks):
            for node in self.random.sample(list(self.graph), len(self.graph)):
                yield self.walk(node)

    def walk(self, node):
        steps = [node]
        while len(steps) < self.length and self.graph[steps[-1]]:
            near = self.graph[steps[-1]]
            weights = [edge["weight"] * self.bias(steps, other) for other, edge in near.items()]
            steps.append(self.random.choices(list(near), weights)[0])
        return steps

    def bias(self, steps, other):
        if len(steps) < 2 or self.graph.has_edge(steps[-2], other):
            return 1.0
        return 1 / self.p if other == steps[-2] else 1 / self.q


walks = Walks(graph, walks=2 if args.small else 20, length=20, q=0.5)
print(" > ".join(walks.walk("Valjean")[:8]))

# %% [markdown]
# ## Vectors
#
# Near are those who keep the same company, not those who meet most often. Valjean meets everybody, so nobody is quite
# near to him: first come those around him who meet few others.

# %%
model = TorchWord2Vec(
    walks, vector_size=32, window=2, min_count=1, sg=1, sample=0, epochs=2 if args.small else 20, workers=1, seed=1
)
for name in ("Valjean", "Gavroche", "Fantine", "Bossuet"):
    print(f"{name:>8}: " + ", ".join(f"{other} {score:.2f}" for other, score in model.wv.most_similar(name, topn=5)))

# %% [markdown]
# ## The map
#
# The communities are found in the graph alone, by modularity (Clauset, Newman and Moore); the model has not seen them.
# Do its nearest neighbors belong to the same?

# %%
communities = networkx.community.greedy_modularity_communities(graph, weight="weight")
community_of = {name: number for number, names in enumerate(communities, 1) for name in names}
same = [community_of[other] == community_of[name] for name in graph for other, _ in model.wv.most_similar(name, topn=3)]
sizes = np.bincount(list(community_of.values()))[1:]
chance = (sizes * (sizes - 1)).sum() / (len(graph) * (len(graph) - 1))
print(
    f"{len(communities)} communities; of the three nearest {np.mean(same):.0%} are of one's own, {chance:.0%} by chance"
)

# %%
names = sorted(graph, key=lambda name: -graph.degree(name, weight="weight"))
groups = {name: f"community {community_of[name]}" for name in sorted(names, key=lambda name: community_of[name])}
plot.word_map(model.wv, names, groups=groups, figsize=(8.5, 6.5)).savefig("map.png", dpi=90)
