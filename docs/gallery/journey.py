# %% [markdown]
# # Journey to the West
#
# A Chinese novel of the 16th century (西游记), on which textbooks train skip-gram with the full softmax, because its
# vocabulary is small enough. Here both: the full softmax, and negative sampling, which approximates it.
#
# The text is `xiyouji.txt`: the novel, in the public domain, cut into words with jieba, a clause a line and words
# between blanks. Any other edition that is cut so will do. `--small` trains on a few clauses that stand in this script.

# %%
import argparse
import random
import time

from gensim.models import KeyedVectors
from gensim.models.word2vec import LineSentence

from torchw2v import TorchWord2Vec, plot

parser = argparse.ArgumentParser()
parser.add_argument("--corpus", help="xiyouji.txt")
parser.add_argument("--small", action="store_true", help="a few clauses, for a try")
parser.add_argument("--epochs", type=int, default=20)
args = parser.parse_args()
if not args.corpus and not args.small:
    parser.error("give --corpus xiyouji.txt, or --small")
CLAUSES = """唐僧 骑 白马 往 西天 取经
孙悟空 挥 金箍棒 打 妖怪
呆子 挑 行李 跟 师父 走
观音 菩萨 在 南海 说法
如来 佛祖 在 灵山 说法
师父 叫 八戒 化斋
行者 驾 筋斗云 寻 妖怪"""

# %%
if args.small:
    clauses = [clause.split() for clause in CLAUSES.splitlines()]
    sentences = random.Random(1).choices(clauses, k=400)
else:
    sentences = list(LineSentence(args.corpus))
print(f"{len(sentences):,} clauses, {sum(map(len, sentences)):,} words")

# %% [markdown]
# ## Two objectives

# %%
SETTINGS = {"vector_size": 64, "window": 3, "min_count": 5, "sg": 1, "workers": 2, "seed": 1, "compute_loss": True}
epochs = 2 if args.small else args.epochs
OBJECTIVES = {"full softmax": {"objective": "softmax", "alpha": 0.1}, "negative sampling": {"negative": 5}}
models = {}
for name, objective in OBJECTIVES.items():
    started = time.process_time()
    models[name] = model = TorchWord2Vec(sentences, epochs=epochs, **objective, **SETTINGS)
    seconds = time.process_time() - started
    losses = [epoch["mean_loss"] for epoch in model.training_history]
    print(f"{name}: {len(model.wv):,} words, loss {losses[0]:.3f} to {losses[-1]:.3f}, {seconds:.0f} CPU seconds")

# %% [markdown]
# The losses are of different things: the first is the cross-entropy of a choice among all words, the second the sum of
# six yes-or-no decisions. More about the first, and about speed: [the full softmax](../softmax.md).
#
# ## Neighbors
#
# 观音 is Guanyin, who sends the pilgrims; 孙悟空 Sun Wukong, the monkey king; 呆子, "the idiot", is what the book calls
# the pig Zhu Bajie (八戒); 如来 the Buddha; 唐僧 the monk Tang Sanzang (三藏), their master (师父).

# %%
for word in ("观音", "孙悟空", "呆子", "如来", "唐僧"):
    print(word)
    for name, model in models.items():
        print(f"  {name:>17}: " + " ".join(other for other, _ in model.wv.most_similar(word, topn=8)))

# %% [markdown]
# ## Who stands with whom
#
# Names in Latin letters, because not every machine has a Chinese font (`plot.word_map(..., font="Noto Sans CJK SC")`).

# %%
CAST = {
    "pilgrims": "唐僧=Tang-Sanzang 三藏=Sanzang 行者=Pilgrim 孙悟空=Sun-Wukong 大圣=Great-Sage 八戒=Bajie "
    "呆子=the-idiot 沙僧=Sha-Monk 白马=White-Horse 师父=master",
    "heaven": "玉帝=Jade-Emperor 老君=Laozi 太白金星=Venus 哪吒=Nezha 天王=Heavenly-King 天兵=Heavenly-soldiers",
    "buddhas": "观音=Guanyin 菩萨=Bodhisattva 如来=Tathagata 佛祖=Buddha 木叉=Moksha 佛=a-Buddha",
    "demons": "妖精=demon 妖怪=monster 魔王=demon-king 牛王=Bull-King 老妖=old-demon 小妖=little-demon",
    "court": "国王=king 太子=prince 皇后=queen 公主=princess 太宗=Taizong 唐王=Emperor-of-Tang",
}
wv = models["negative sampling"].wv
cast = {}
for group, entries in CAST.items():
    for word, name in (entry.split("=") for entry in entries.split()):
        if word in wv:
            cast[name.replace("-", " ")] = (word, group)
named = KeyedVectors(wv.vector_size)
named.add_vectors(list(cast), wv[[word for word, _ in cast.values()]])
groups = {name: group for name, (_, group) in cast.items()}
plot.word_map(named, groups, groups=groups, figsize=(8, 5.5)).savefig("map.png", dpi=90)
