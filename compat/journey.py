"""Journey to the West on the full softmax and on negative sampling: neighbors, loss and time of both.

    python -m compat.journey --corpus xiyouji.txt

The corpus is segmented Chinese text, a clause a line, words between blanks. Prints the tables of docs/softmax.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gensim.models.word2vec import LineSentence

from compat.bench import environment, timed_train
from torchw2v import TorchWord2Vec

# alpha of the full softmax: docs/softmax.md, "Learning rate".
OBJECTIVES = {
    "full softmax": {"objective": "softmax", "negative": 0, "alpha": 0.1},
    "negative sampling": {"negative": 5, "alpha": 0.025},
}
SETTINGS = {"vector_size": 64, "window": 3, "min_count": 5, "workers": 2, "compute_loss": True}
# For each of five names what somebody who has read the book finds near it: other names of the same figure, companions,
# places, and what is said of it.
EXPECTED = {
    "观音": "菩萨 观音菩萨 观世音 大士 南海 普陀 普陀山 落伽山 木叉 惠岸 善财 慈悲 如来 如来佛 佛祖 世尊 玄奘",
    "孙悟空": "悟空 行者 大圣 孙大圣 齐天大圣 美猴王 猴王 老孙 孙行者 孙爷爷 弼马温 花果山 金箍棒 猪悟能 沙悟净 唐僧",
    "呆子": "八戒 猪八戒 悟能 猪悟能 老猪 呆 夯货 钉钯 沙僧 沙和尚 行者 猴子 长老 师父",
    "如来": "佛祖 佛 我佛 如来佛 世尊 灵山 雷音 雷音寺 西天 西方 伽叶 阿傩 菩萨 观音 观音菩萨 玉帝 老君",
    "唐僧": "三藏 唐三藏 玄奘 长老 唐长老 师父 圣僧 唐圣僧 御弟 和尚 徒弟 师徒 取经 大唐 沙僧 八戒 猪八戒 行者 孙行者",
}
WIDTH = 10  # neighbors that are looked at


def train(sentences: list[list[str]], objective: str, **settings: Any) -> tuple[TorchWord2Vec, dict[str, float]]:
    """A trained model, and how long `train()` alone took."""
    model = TorchWord2Vec(**{**SETTINGS, **OBJECTIVES[objective], **settings})
    model.build_vocab(sentences)
    return model, timed_train(model, sentences)


def neighbors(model: TorchWord2Vec, word: str) -> list[str]:
    """The nearest words."""
    return [neighbor for neighbor, _ in model.wv.most_similar(word, topn=WIDTH)]


def expected(model: TorchWord2Vec, word: str) -> list[str]:
    """Those of the nearest words that a reader of the book expects."""
    return [neighbor for neighbor in neighbors(model, word) if neighbor in EXPECTED[word].split()]


def tables(runs: dict[str, tuple[TorchWord2Vec, dict[str, float]]]) -> str:
    """Neighbors (those expected in bold), loss by epoch, and time of the runs."""
    lines = ["| | " + " | ".join(runs) + " |", "|---" * (len(runs) + 1) + "|"]
    for word in EXPECTED:
        cells = []
        for model, _ in runs.values():
            near, good = (neighbors(model, word), expected(model, word)) if word in model.wv else ([], [])
            cells.append(" ".join(f"**{name}**" if name in good else name for name in near) + f" ({len(good)})")
        lines.append(f"| {word} | " + " | ".join(cells) + " |")
    models = [model for model, _ in runs.values()]
    lines += [
        "",
        "| epoch | " + " | ".join(f"{name}: mean loss" for name in runs) + " |",
        "|---" * (len(runs) + 1) + "|",
    ]
    for epoch in range(len(models[0].training_history)):
        lines.append(
            f"| {epoch + 1} | " + " | ".join(f"{m.training_history[epoch]['mean_loss']:.4f}" for m in models) + " |"
        )
    lines += ["", "| | engine | seconds | CPU seconds | raw words/s |", "|---|---|---|---|---|"]
    for name, (model, time) in runs.items():
        lines.append(
            f"| {name} | `{model.running_on.engine}` | {time['seconds']:.1f} | {time['cpu_seconds']:.1f} | "
            f"{time['raw_words_per_s']:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train both and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="xiyouji.txt")
    parser.add_argument("--lines", type=int, help="of the text, from its beginning (default: all)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sg", type=int, choices=(0, 1), default=1, help="1 (default): skip-gram; 0: CBOW")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--alpha", type=float, help="of the full softmax (default: 0.1)")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    sentences = list(LineSentence(str(args.corpus)))[: args.lines]
    if args.alpha is not None:
        OBJECTIVES["full softmax"]["alpha"] = args.alpha
    how = {"sg": args.sg, "epochs": args.epochs, "seed": args.seed, "device": args.device}
    runs = {name: train(sentences, name, **how) for name in OBJECTIVES}
    model = next(iter(runs.values()))[0]
    print(f"{model.corpus_total_words:,} words, vocabulary {len(model.wv):,}; {how}; {environment()}\n")
    print(tables(runs))


if __name__ == "__main__":
    main()
