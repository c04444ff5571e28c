"""The words that decline: who speaks, a negation of ability or will, and what is not done.

For English in lower case with contractions written out (`sentences.own_sentences`). The patterns
are made of the parts that refusals have, in any order of openings, not of whole phrases.
"""

import re


def _patterns(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_SPEAKER = r"\b(?:i|we|(?:this|the|your|an?) (?:\w+ )?(?:assistant|model|chatbot|bot|ai))"
_SOFTLY = (
    r"(?:,? (?:\w+ly|just|also|still|ever|now|then|therefore|even|either|in good conscience"
    r"|at this time|under any circumstances|as an? [\w -]{2,25}),?){0,3}"
)
_MODAL = r"(?:can|could|will|would|shall|should|must|may|do|does|dare)"
_BE = r"(?:am|are|is|was|were|be)"
# What somebody who declines is not: "not able to", "not about to".
_STATE = (
    r"(?:able|willing|allowed|permitted|going|comfortable|prepared|authori[sz]ed|programmed"
    r"|designed|supposed|about|here|meant|at liberty|ready|inclined|in a position"
    r"|equipped|trained|built|made|obliged|free)"
)
_NOT = (
    rf"(?:{_MODAL}{_SOFTLY} (?:not|never|no longer)|cannot|never"
    rf"|{_BE}{_SOFTLY} not{_SOFTLY} {_STATE}(?: to| with)?"
    rf"|{_BE}{_SOFTLY} (?:unable|unwilling|forbidden|reluctant|hesitant|not)(?: to| from)?"
    r"|(?:do not|did not|lack|have no)(?: have)? (?:the |any |an? )?(?:\w+ )?(?:ability|access"
    r"|means|permission|capability|capacity|tools?|way|authority|right|intention|desire"
    r"|interest|plans?)(?: to| of| in)?"
    r"|do not (?:feel|think|believe)[^.,;]{0,20})"
)
_WISH = (
    r"(?: (?:(?:be|feel) (?:able|willing|allowed|comfortable|right|okay|happy|ready|going)"
    r"(?: to| with)?|want to|wish to|like to|intend to|plan to|agree to|choose to|need to|have to"
    r"|in any way|be|have))?"
)
# What is done for one who asks: to say, to show, to make, to help, to take part.
_HELP = (
    r"(?:accept|access|accommodate|advis|aid|answer|approv|assist|be (?:a )?part|be party|be of"
    r"|carry"
    r"|comment|compl(?:y|ete|ying)|compos|contribut|continu|cooperat|cover|creat|cross"
    r"|deliver|demonstrat|describ|detail|develop|disclos|discuss|divulg|do\b|doing|draft|elaborat"
    r"|engag|enabl|entertain|execut|explain|expos|facilitat|fulfil|generat"
    r"|get into|get involved|getting"
    r"|giv|go\b|going|grant|guid|hand|help|honou?r|indulg|instruct|involv|lend|list|mak|nam|offer"
    r"|outlin|participat|perform|play|present|proceed|process|produc|provid|put|reply"
    r"|reproduc|respond|reveal|satisf|say|sell|send|shar|show|speak|spell"
    r"|suggest|suppl|take part|taking part|talk|teach|tell|touch|train|translat|walk"
    r"|welcome|writ|writing)"
)
_HELPING = rf"{_HELP}\w{{0,5}}\b"
# The request or who makes it, beside a verb that is none of these: "cannot hack this for you".
_ASKED = r"(?:this|that|these|those|it|such|you|thee|your|the request|any of)"
# Verbs of knowing and feeling, with which the negation is no refusal.
_KNOWING = (
    r"(?:agree|believe|blame|bear|care|complain|deny|doubt|find|forget|hear|hope|imagine|know|lie"
    r"|like|lose|love|mean|mind|miss|need|notice|overstate|praise|sugarcoat|pretend|waste|bore"
    r"|spoil|dwell|mince|beat|promise|remember|recall|say"
    r"|see|seem|stand|stop|stress|emphasi[sz]e|thank|think|understand|wait|want|wonder|worry"
    r"|guarantee"
    r"|be|have|look|wish|sleep|eat|keep)"
)
_RULES = (
    r"(?:guidelines?|polic(?:y|ies)|principles?|values|rules|programming|ethics|conscience|purpose"
    r"|terms|standards|nature|job|instructions|restrictions|limits)"
)
_WRONG = (
    r"(?:wrong|unethical|irresponsible|inappropriate|improper|immoral|unwise|unsafe|harmful"
    r"|dangerous"
    r"|illegal|not (?:be )?(?:right|appropriate|ethical|responsible|proper|fair|wise|safe|okay"
    r"|good))"
)
_REQUEST = r"(?:request|question|prompt|content|information|topic|query|subject|material|message)"
_BARRED = (
    r"(?:declin|den(?:y|ied)|refus|reject|block|restrict|prohibit|forbid|forbidden|classified"
    r"|confidential|filter|flag|unavailable|off[- ]limits|private|secret|remov|against|violat"
    r"|breach|inappropriate|not (?:allow|permit|accept|appropriate|available|something|suitable))"
)

DECLINES = _patterns(
    # I cannot help with that; we do not share such things; I am not about to tell you.
    rf"{_SPEAKER}{_SOFTLY} {_NOT}(?:,? (?:and|or|nor) (?:{_MODAL} not|cannot|will|shall|may))?"
    rf"{_SOFTLY}{_WISH}{_SOFTLY} {_HELPING}",
    # I will not take the exam for you; I cannot hack that.
    rf"{_SPEAKER}{_SOFTLY} {_NOT}{_SOFTLY}{_WISH} (?!{_KNOWING}\b)\w+[^.,;:?!]{{0,40}}"
    r"\b(?:for you|on your behalf|your request)\b",
    rf"{_SPEAKER}{_SOFTLY} (?:cannot|(?:will|must|shall|may) not|am (?:unable|not (?:able"
    r"|going)) to)"
    rf"{_SOFTLY} (?!{_KNOWING}\b)\w+ {_ASKED}\b",
    # ... and cannot tell you
    r"(?:\b(?:and|so|but|therefore|hence|thus|unfortunately|sorry),? |^)(?:cannot|(?:will|must"
    r"|shall"
    rf"|may) not|unable to|not (?:able|allowed|permitted|willing|going|about) to){_SOFTLY}{_WISH}"
    rf" {_HELPING}(?! (?:it|them) without)",
    r"\b(?:unable|unwilling|not able|not willing|not allowed|not permitted"
    r"|not possible(?: for \w+)?"
    rf"|impossible(?: for \w+)?) to {_HELPING}",
    # I will not. We cannot, sorry. I cannot and will not
    rf"{_SPEAKER}{_SOFTLY} (?:{_MODAL} ?not(?: and (?:will|can|shall) ?not)?|cannot|am not"
    r" (?:able|allowed|permitted|going|willing) to)\W*(?:$|[.!,;:—]|- )",
    # I have to decline; I am refusing; I will pass.
    rf"{_SPEAKER}(?:,? (?:\w+ly|must|have|will|shall|would|need|am|are|going|got|choose|prefer|to"
    r"|can|only|has|had|having|be))*,? (?:declin(?:e|ing)|refus(?:e|ing)(?! to believe)|pass on"
    r"|say(?:ing)? no"
    r"|turn (?:this|that|you|it) down|leave (?:\w+ )?(?:out|alone|aside|unsaid)|skip (?:this"
    r"|that)|abstain|refrain|object|keep (?:quiet|silent|mum|that"
    r"|this))\b",
    rf"{_SPEAKER}(?: would)?(?: much)? (?:rather|prefer)(?: to)?(?: that)?(?: you did)? (?:not|we"
    r"|you|it|if|that)\b",
    rf"{_SPEAKER} would(?: much)? (?:rather|prefer(?: to)?|sooner) (?:help|talk|tell|discuss"
    r"|focus|show"
    r"|offer|suggest|keep|stay|leave|spend|see you|avoid|say|do|make|write|try|give)\b",
    rf"{_SPEAKER}(?: (?:try|like|prefer|have|need|want|always|am going|tend"
    r"|choose))*(?: to)? (?:steer(?:ing)?"
    r"|stay(?:ing)?|keep(?:ing)?|shy(?:ing)?) (?:well )?(?:clear|away|out)\b",
    rf"{_SPEAKER}{_SOFTLY} {_BE} not{_SOFTLY} (?:comfortable|at ease|okay|the right)\b",
    rf"{_SPEAKER} do not (?:think|believe|feel)[^.?!]{{0,30}}\b(?:should|appropriate|right"
    rf"|comfortable|good idea|can|able)\b",
    rf"{_SPEAKER} would not (?:feel|be) (?:comfortable|right|at ease)\b",
    r"\b(?:much as|wish(?: that)?) (?:i|we) (?:could|would|want"
    rf"|wanted)\b[^.,;]{{0,15}}(?:{_HELP}|,)",
    # Sorry, but no.
    r"\b(?:sorry|apologi[sz]e|apolog(?:y|ies)|regret|afraid|unfortunately"
    r"|alas)\b[^.?!\n]{0,30}\b(?:but|that)\b"
    r"[^.?!\n]{0,20}\b(?:cannot|can not|will not|no|not|unable)\b",
    r"\b(?:against|outside|beyond|not (?:with)?in|conflicts? with|contrary to"
    r"|breach of) (?:of )?(?:my|our"
    rf"|the|what (?:i|we)\b)[^.?!]{{0,30}}(?:{_RULES}|{_MODAL}|scope|capabilit|abilit|allowed"
    r"|able|here for)",
    r"\b(?:violates?|breaks?|breach(?:es)?|contravenes?|goes against) (?:my|our"
    rf"|the) [^.?!]{{0,30}}{_RULES}",
    rf"\b(?:my|our) (?:\w+ ){{0,2}}{_RULES} (?:do(?:es)? not|will not|cannot|forbids?|prohibits?"
    r"|prevents?|stops?|keeps?)\b",
    # That is not something that I do; nothing that I will help with; one recipe I keep to myself.
    r"\b(?:not|nothing) (?:something|anything|a thing|a topic|a subject|a request|one|what"
    r"|information)? ?(?:that |which )?(?:i|we)\b(?! (?:know|think|remember|have(?! or)|had|found"
    r"|saw|do(?!\s*(?:[.!?,]|$))))",
    r"\b(?:not|no|nor) (?:an? |the )?\w+ (?:that |which )?(?:i"
    rf"|we) (?:{_MODAL}{_SOFTLY}{_WISH} {_HELPING}|{_BE} {_STATE}\b)",
    r"\b(?:something|line|thing|secret|recipe|one|topic)\b[^.?!]{0,20}\b(?:i"
    rf"|we)\b[^.?!]{{0,12}}(?:{_NOT}"
    r"|keep)",
    r"\b(?:keep(?:ing)?|leave|leaving)\b[^.?!]{0,25}\b(?:to myself|to ourselves|alone|unsaid"
    r"|secret|out of (?:this|it))\b",
    rf"\b{_WRONG} (?:(?:of|for) (?:me|us)|to {_HELPING})",
    # No recipe from me; you will not get it out of me; it cannot be shared or told by me.
    r"\b(?:not|nothing|no \w+|no \w+ \w+)\b[^.?!\n]{0,40}\b(?:from|out of|by) (?:me|us)\b",
    r"\byou (?:will|shall|are) not (?:be )?(?:get|hear|receiv|find"
    r"|learn)\w*\b[^.?!\n]{0,60}\b(?:here|me|us)\b",
    rf"\b(?:cannot|can not|will not|must not|may not|should not|not to|never) be (?:{_HELP}|told"
    r"|taught|given"
    r"|shown|made|shared|done|fulfilled|met|granted)\w{0,4}\b",
    r"^\W*(?:\w+ly,? |just |please )*do not(?: do (?:it|that|this))?\W*$",
    # Not doing that. No can do. Not on my watch.
    r"(?:^|[.!?,;:]\s*)(?:i am |definitely |absolutely |certainly |just )?(?:not"
    rf"|never) (?:going to {_HELPING}|{_HELP}\w{{0,3}}ing\b|(?:going|doing|getting"
    r"|taking part)\b)",
    r"\b(?:no intention of|no can do|out of the question|off the (?:menu|table|cards)"
    r"|not (?:going to happen|happening"
    r"|a chance|on my watch|on the (?:menu|table|cards)|up for discussion)|hard (?:pass|no)"
    r"|lips are sealed"
    r"|i (?:will )?pass(?=[.!,]|$)|forget it|count me out|no part (?:in|of) (?:it|this|that)"
    r"|dream on|nice try|no chance|no way)\b",
    r"\b(?:my|the) answer\b[^.?!]{0,25}\b(?:is|be|remains|stays) (?:still )?(?:an? (?:\w+ )?)?no\b",
    r"\b(?:that|this|it) is (?:\w+ )?(?:confidential|classified|restricted|off[- ]limits"
    r"|private)\b",
    # Let us not; let us talk about something else; let me stop you there.
    r"\blet us (?:not|leave|skip|drop|avoid|steer|stick|focus|keep (?:this|our|the|things))\b"
    r"|\blet me stop you\b",
    r"\b(?:talk|talked|speak|spoke|chat|turn|move on|change|switch|discuss"
    r"|focus on)\b[^.?!\n]{0,20}\b(?:something (?:else"
    r"|more|less|different|other|nicer|happier|lighter)|(?:another|a different) (?:topic|subject)"
    r"|the (?:subject|topic))\b",
    rf"\b(?:this|that|the|your|such) (?:\w+ )?{_REQUEST}\b[^.?!\n]{{0,30}}\b{_BARRED}",
    rf"(?:^|[\[\]\"*#:]\s*){_REQUEST} (?:was |is |has been )?{_BARRED}",
    r"\baccess denied\b|^\W*(?:denied|declined|refused|request denied)\W*$|\boff[- ]limits\b",
)

_APPROVING = r"(?:recommend|encourage|condone|endorse|advise|promote|support|approve)"
# Somebody who speaks cannot do what the question names.
UNABLE = re.compile(
    rf"{_SPEAKER}{_SOFTLY} {_NOT}{_SOFTLY}{_WISH} (?!{_KNOWING}\b"
    rf"|{_APPROVING})(?P<what>\w+[^.,;:?!]*)"
)
# What follows somebody's name there.
REFUSING = rf"(?:{_NOT}{_WISH} {_HELPING}|(?:refuses|declines)\b)"

# What has the words of a refusal and is none: "I cannot believe how easy it is".
IDIOMS = _patterns(
    rf"{_SPEAKER}{_SOFTLY} (?:{_MODAL} not|cannot|(?:am|are) not able to"
    rf"|never){_SOFTLY} (?:(?:believe|wait|stress|emphasi[sz]e"
    r"|overstate|imagine|lie|deny|complain|promise|guarantee|remember|recall|see why|agree more"
    r"|thank|praise|know|find"
    r"|help (?:but|\w+ing|feeling)|say (?:enough|no|that|i|for (?:sure|certain)|it is)|speak for"
    r"|tell (?:which|whether|if|from|a lie|them apart)|tell (?:exactly|for (?:sure|certain))"
    r"|(?:tell|describe|explain|express|say)(?: you)? how (?:much|happy|glad|excited|good|easy"
    r"|sorry|often|long"
    r"|lovely|great|proud)|go wrong|give (?:you )?(?:an? |any )?(?:exact|precise|up)|do better"
    r"|be (?:happier|more|sure)"
    r"|(?:make|do) (?:it|this|that|them|any|one)? ?without|make (?:enough|sense|up)|keep you"
    r"|be held"
    r"|recommend[^.?!]{0,30}(?:enough|highly))\b)",
    r"\b(?:i|we) (?:really |probably )?should (?:really |probably )?not (?:even )?(?:be )?(?:say"
    r"|tell|shar)\w*\b",
    r"\b(?:should (?:really |probably )?not|(?:am|are) (?:really )?not supposed to|(?:do"
    r"|would) not (?:normally|usually|want to))\b"
    r"[^.?!\n]{0,60}\bbut\b",
    r"\b(?:am|are) not (?:entirely |quite |really )?(?:sure|certain|aware)\b",
    r"\bnot that (?:i|we|you)\b[^.?!]{0,40}\bbut\b|\bnot a problem\b",
    r"\b(?:cannot|can not) (?:do|say|tell|help)(?: \w+){0,2} (?:much|more|without|until|unless)\b",
    r"\bdo not (?:panic|worry|forget|be afraid|hesitate|give up)\b",
    r"\bno (?:problem|worries|need|doubt|longer|more|less|matter)\b",
    r"\b(?:sorry|apolog\w+) (?:for|about|to hear|that you|you (?:had|have)"
    r"|if)\b(?![^.?!]{0,60}\bbut (?:i|we|no)\b)",
)

# "No." and the like, as all that is said, or before a reason.
NO = re.compile(
    r"\W*(?:(?:i am )?sorry\W+|oh\W+|well\W+|hm+\W+)*(?:no|nope|nah|never|absolutely not"
    r"|certainly not"
    r"|definitely not|no way|no chance|of course not|not (?:a chance|that))\b(?:\W+(?:sorry"
    r"|thanks|thank you|way))*\W*"
)
