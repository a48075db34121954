"""What the drawn speakers say, and with which voices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["MANDARIN_SHARE", "Voice", "draw_text", "draw_voice"]

MANDARIN_SHARE = 1 / 3  # of the speakers of a mixed corpus
COMMA_SHARE = 0.06  # of the words

_ENGLISH = """
the a my your our his her this that every some many few both each other another same all more most less
big small happy sad old young new early late long short high low fast slow warm cold soft heavy deep simple
beautiful wonderful important possible terrible famous busy empty full ready sure clear bright dark quiet loud
mother father baby brother sister uncle people person man woman child boy girl friend neighbour family member
water fire window paper apple banana butter bread coffee pepper tomato mushroom supper breakfast
summer winter spring autumn morning evening afternoon midnight weather thunder rainbow mountain river ocean island
bridge village city market station airport harbour museum temple palace office factory library hospital
problem answer question number reason method purpose meaning moment minute hour week month year
seven five eleven four nine twelve fifty hundred thousand million first third half
move make map paint push pull bring buy beat bite boil jump shout sing whisper follow love visit remember forget
believe imagine open close borrow promise prefer improve compare prepare repeat explain describe discover arrive
above below before between under over behind beside along across through around inside outside
maybe perhaps never always often sometimes usually together alone slowly quickly carefully finally suddenly
yellow purple blue brown green white orange silver golden
house garden kitchen table chair pillow mirror lamp phone computer camera music movie story picture poem
doctor teacher farmer lawyer painter writer singer driver pilot captain company committee government
bicycle balloon blanket bottle button pocket jacket umbrella elephant monkey rabbit butterfly
with from into about and but or because while when who where why how they we you she he it is was will would could
should may might must have been become begin bloom breathe float flow grow hope keep laugh leave
"""

_MANDARIN = """
今天 天气 很好 我们 一起 去 公园 妈妈 爸爸 朋友 学生 老师 苹果 香蕉 面包 牛奶 北京 上海 明白 不要 可以 喜欢 吃饭
跑步 飞机 火车 看书 电影 音乐 房子 花园 你好 谢谢 为什么 但是 因为 所以 慢慢 非常 漂亮 帮忙 买票 卖花 大门 小猫
新闻 旧书 五月 八点 百年 万里 他们 问题 回答 工作 休息 早上 晚上 昨天 明年 春风 夏雨 秋月 冬雪 山坡 湖边 海面 东方
南方 窗户 桌子 杯子 米饭 蔬菜 葡萄 瀑布 蝴蝶 白马 黄牛 跑步 爬山 游泳 拍照 跳舞 唱歌 说话 听见 发现 帮助 保护 变化
办法 平安 普通 漫步 美丽 明亮 目标 梦想 微笑 温暖 语言 月亮 云朵 远处 儿童 耳朵 二十 热闹 人民 日出 四季 司机 自由
"""

ENGLISH_WORDS, MANDARIN_PHRASES = _ENGLISH.split(), _MANDARIN.split()

# Languages and variants of espeak-ng. A voice that is held out is never heard in any other corpus.
ENGLISH_BASES = ("en-us", "en-gb-x-rp", "en-029", "en-gb-scotland")
ENGLISH_BASES_HELD_OUT = ("en-us", "en-gb-scotland", "en-us-nyc")
MANDARIN_BASES = ("cmn",)
VARIANTS = {  # (is female, is held out) -> names
    (False, False): ("m1", "m3", "m4", "m5", "m7", "Andy", "Alex", "Gene", "Lee", "Michael"),
    (True, False): ("f1", "f3", "f4", "Annie", "linda", "steph"),
    (False, True): ("m2", "m6", "Denis", "Marco"),
    (True, True): ("f2", "f5", "Alicia"),
}

PITCH, PITCH_RANGE = (25, 80), (30, 80)  # of espeak's 0..100
RATE_WPM = (130, 200)


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng with its settings, see ``anchor.speech.speak``."""

    name: str
    language: str  # "en" or "zh"
    rate: int
    pitch: int
    pitch_range: int


def draw_voice(rng: np.random.Generator, language: str, is_female: bool, held_out: bool) -> Voice:
    """A voice for a speaker; ``language`` is "en", "zh" or "mixed" (a third of the speakers are Mandarin)."""
    if language == "mixed":
        language = "zh" if rng.random() < MANDARIN_SHARE else "en"
    english = ENGLISH_BASES_HELD_OUT if held_out else ENGLISH_BASES
    base = rng.choice(english if language == "en" else MANDARIN_BASES)
    return Voice(
        name=f"{base}+{rng.choice(VARIANTS[is_female, held_out])}",
        language=language,
        rate=int(rng.integers(*RATE_WPM)),
        pitch=int(rng.integers(*PITCH)),
        pitch_range=int(rng.integers(*PITCH_RANGE)),
    )


def draw_text(rng: np.random.Generator, language: str, num_words: int) -> str:
    """A sentence of ``num_words`` drawn words (for Mandarin: of phrases)."""
    commas = rng.random(num_words) < COMMA_SHARE
    commas[-1] = False
    if language == "zh":
        phrases = rng.choice(MANDARIN_PHRASES, num_words)
        return "".join(f"{phrase}，" if comma else phrase for phrase, comma in zip(phrases, commas, strict=True)) + "。"
    words = rng.choice(ENGLISH_WORDS, num_words)
    return " ".join(f"{word}," if comma else word for word, comma in zip(words, commas, strict=True)) + "."
