"""Refusals in other languages, by the commonest words of ability, will and help."""

import re


def _patterns(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


# Someone is sorry, and negates, in one sentence.
_SORRY = (
    r"(?:lamento|lamentamos|siento|perdón|disculp\w*|desculp\w*|sinto|infelizmente"
    r"|lamentablemente|désolée?|regrette|malheureusement|dispiace|purtroppo"
    r"|spiacente|leid|leider|entschuldig\w*|bedauer\w*|spijt|helaas|tyvärr|desværre|beklager"
    r"|przykro|niestety|przepraszam|bohužel|извин\w*|простите"
    r"|сожалени\w*|жаль|вибачте|üzgün\w*|maalesef|maaf|xin lỗi"
    r"|抱歉|对不起|對不起|申し訳|すみません|ごめん|죄송|미안"
    r"|عذر\w*|آسف|للأسف|क्षमा|माफ़)"
)
_NEGATED = (
    r"(?:\b(?:no|não|non|ne|n['’]|pas|nicht|keine?\w*|niet|geen|inte|ikke|nie|ne\w*|не|нет|değil"
    r"|\w+(?:am[ıa]\w*|eme\w*)|tidak|không|لا|لن|नहीं)\b|\bn['’]"
    r"|不|无法|無法|没|ません|かね|없|못|안 )"
)
DECLINES_ELSEWHERE = _patterns(
    rf"{_SORRY}[^.!?。\n]{{0,80}}{_NEGATED}",
    r"\b(?:je préfère ne|prefiero no|prefiro não|preferisco non|(?:liever|lieber) (?:niet|nicht)"
    r"|wolę nie)\b",
    # Spanish, Portuguese, Italian, French, Catalan, Romanian
    r"\bno (?:te |le |les |os |me )?(?:puedo|podemos|voy a|vamos a|debo|quiero|es posible"
    r"|se puede|estoy (?:autorizado|en condiciones))(?: \w+|\b)",
    r"\bnão (?:te |lhe |me )?(?:posso|podemos|vou|vamos|devo|quero|consigo|é possível)\b",
    r"\bnon (?:ti |vi |mi )?(?:posso|possiamo|voglio|intendo|è possibile|sono in grado)\b",
    r"\bje (?:ne |n['’])(?:te |vous )?(?:peux|veux|vais|dois|souhaite|saurais|suis pas)\b"
    r"|\b(?:nous ne|il n['’]est pas) (?:pouvons|voulons|possible)\b",
    r"\b(?:lo siento|lamento|desculpe|sinto muito|mi dispiace|désolée?|perdón"
    r"|disculpa)\b\W+(?:pero|mas|ma|mais)\b",
    r"\b(?:me niego|recuso|mi rifiuto|je refuse)\b",
    r"\bje ne (?:\w+ ){0,2}\w+rai (?:pas|jamais)\b|\bno (?:te |le |os |les )?\w+ré\b|\bnon (?:ti "
    r"|vi )?\w+rò\b|\bnão \w+rei\b",
    # German, Dutch, Swedish, Danish, Norwegian
    r"\b(?:kann|werde|darf|möchte|will|können|dürfen|werden)\b[^.?!\n]{0,60}\b(?:nicht"
    r"|keine?[nmrs]?)\b[^.?!\n]{0,60}\b(?:helfen|sagen|geben|erklären|verraten"
    r"|beantworten|antworten|unterstützen|anbieten|bereitstellen|weitergeben|dienen|weiterhelfen"
    r"|schreiben|erstellen|nachkommen|erfüllen|zeigen)\b",
    r"\b(?:leid|entschuldigung|het spijt me|helaas|tyvärr|desværre|beklager)\b\W+(?:aber|doch"
    r"|maar|men)\b|\blehne ich\b|\bich lehne\b|\bnicht (?:in der lage|möglich|erlaubt"
    r"|gestattet)\b",
    r"\bkan\b[^.?!\n]{0,30}\b(?:niet|geen|inte|ikke)\b[^.?!\n]{0,30}\b(?:helpen|geven|vertellen"
    r"|uitleggen|hjälpa|svara|hjelpe|hjælpe)\b",
    # Polish, Czech, Russian, Ukrainian, Turkish
    r"\bnie (?:mogę|możemy|będę|chcę|jestem w stanie) \w+|\bprzykro mi\W+ale\b|\bnemohu\b"
    r"|\bnemůžu\b",
    r"\bне (?:могу|можем|буду|стану|хочу|можу|імею права)\b|\b(?:извините|простите|к сожалению"
    r"|вибачте)\W+(?:но|я не|але)\b|\bотказываюсь\b",
    r"\byardımcı olam\w+|\büzgünüm\W+(?:ama|fakat)\b",
    # Chinese, Japanese, Korean, Arabic, Hindi
    r"(?:无法|不能|不会|不可以|拒绝|無法|不會|拒絕|没办法)[^。!?]{0,8}(?:帮|提供|回答|告诉|协助|满足|完成|分享|讨论|说|教|幫|告訴|協助|给|写)",
    r"(?:抱歉|对不起|對不起)[,，]?(?:但|我(?:无法|不能|不会|無法))",
    r"(?:でき|教えられ|答えられ|お答えでき|応えでき|いたしかね|致しかね|しかね|かね)(?:ません|ます)(?!か)",
    r"수(?:는|가)? 없(?:습니다|어요|다|음)|죄송(?:합니다|하지만)",
    r"لا (?:أستطيع|يمكنني|أقدر|نستطيع|يمكن)|(?:عذرا|آسف|أعتذر)[^.?!]{0,10}(?:لكن|ولكن|لا)",
    r"नहीं (?:कर|दे|बता) सकत",
)
DOES_ELSEWHERE = _patterns(
    r"\b(?:pero|mas|ma|mais|aber|maar|но)\b[^.?!\n]{0,30}\b(?:aquí|aqui|ecco|voici|hier ist"
    r"|hier sind|so geht|вот)\b",
    r"\b(?:voici comment|así se hace|es geht so|und zwar so)\b|但是?(?:这里|步骤|方法)",
)
