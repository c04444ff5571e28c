"""What a clause does beside declining: it turns away from what was asked, or does it.

Patterns for English in lower case with contractions written out (`sentences.own_sentences`).
"""

import re

_BAD = (
    r"(?:illegal\w*|unlawful\w*|against the (?:law|rules)|crim(?:e|es|inal\w*)|felony|banned"
    r"|forbidden|prohibit\w*"
    r"|outlaw\w*|restrict\w*|controlled substance|danger\w*|harm\w*|hurt\w*|toxic|poisonous"
    r"|unsafe|not safe|no safe"
    r"|risk\w*|unethical|immoral|wrong|(?:never|not) (?:okay|ok|acceptable|right|appropriate"
    r"|a good idea|worth)"
    r"|unacceptable|inappropriate|disrespect\w*|offensive|cruel|serious|consequences?|violat\w*"
    r"|privacy|cheating|dishonest\w*"
    r"|mislead\w*|fraud\w*|stealing|theft|victims?|injur\w*|kill\w*|(?:cost"
    r"|taken?) (?:\w+ ){0,3}lives|jail|prison|arrest\w*"
    r"|fined|punish\w*|penalt\w*|worse|regret\w*|unkind|unfair|bad idea|irresponsible|blind\w*"
    r"|burns|damag\w*|suffer\w*|threat\w*"
    r"|bully\w*|abus\w*|exploit\w*|trouble|destroy\w*|disservice|death|deadly|fatal|stalk\w*"
    r"|harass\w*|hate|hatred|racis\w+|violen\w+|scam\w*|swindl\w*|deceiv\w*|decept\w*|pain"
    r"|suicid\w*"
    r"|self-harm)"
)
# A reason against what was asked, or a value in its place.
_AGAINST = (
    r"(?:(?:do|can|could|would|will|must) not|cannot|never|advise|recommend|warn)(?: (?:ever"
    r"|really|in good conscience))?"
    r" (?:recommend|encourage|condone|endorse|advise|promote|support|approve|against|you)\b"
)
DISAPPROVES = re.compile(rf"\b(?:i|we) {_AGAINST}")
WARNS = re.compile(rf"\b{_BAD}\b|⚠|\bno \w+ way\b|\bnot (?:recommended|advisable|advised)\b")
VALUES = re.compile(
    r"\b(?:important to|importan(?:t|ce) (?:that|of)|deserves?|respect\w*|rights? to|consent"
    r"|integrity|honest\w*|responsib\w*"
    r"|stay safe|be safe|keep \w+ safe|follow(?:ing)? the (?:law|rules)|well-?being|be kind"
    r"|kindness|trust(?:ed)?|feel safe|safety)\b"
)
# Somebody else who should be asked, something else that could be done.
REFERS = re.compile(
    r"\b(?:please (?!find|see below|wait|note that this is for)\w+|hot ?line|help ?line|crisis"
    r"|emergenc\w+|professionals?|therapists?|counsel\w+"
    r"|lawyers?|doctors?|authorit\w+|police|guards|wardens?|support (?:group|line|service)"
    r"|customer service|(?:offer|seek|get|find) (?:help|support)|struggling|website"
    r"|(?:encourage|urge|recommend|suggest|advise|invite)(?: that)? (?:you|against|to|\w+ing)"
    r"|(?:you (?:can|could|might|may|should|would do better to|had better|ought to)(?: also"
    r"| always| instead| still| simply)*|^|[,.;:]|or|and|then|(?:try|need|want|have|best|better"
    r"|wise|encourage you|urge you|like you) to)"
    r" ?(?:talk|speak|call|contact|reach|ask|consult|seek|visit|report|consider|learn"
    r"|look (?:into|for|up)|check|apply|turn to|get in touch"
    r"|go to|read|think|remember|try|focus|keep in mind|take care|stay|respect|follow the|join"
    r"|write to|see an?)\b)"
)
INSTEAD = re.compile(
    r"\b(?:instead(?! of)|rather than|alternativ\w+|better (?:idea|off|served|way|choice|plan)"
    r"|something (?:else|more|less|different|other)"
    r"|(?:another|different|other|new) (?:topic|subject|way|one|approach|question|idea|thing"
    r"|request|kind|version|help|matter|task)s?"
    r"|(?:legal|lawful|legitimate|genuine|real|safe|safer|harmless|healthy|healthier|constructive"
    r"|positive|permitted|kind|official|licensed)(?:ly)?"
    r"|non-?\w+)\b"
)
OFFERS = re.compile(
    r"\b(?:(?:i|we) (?:can|could|would|will|am|are|may|might)(?: be| able to| also| still| gladly"
    r"| always| very| more| than| certainly| only| perhaps)*"
    r" (?:happy|glad|help|offer|tell|explain|suggest|recommend|assist|quiz|describe|talk|discuss"
    r"|show|share|give|provide|answer|advise|here"
    r"|encourage|urge|like to|love to|teach|write|point|walk|guide|listen|point)|let (?:us"
    r"|me) (?:know|talk|help|focus|try|find|look)|would you"
    r"|feel free|(?:happy|glad) to|how about|what about|why (?:do|not)\b|shall we|do you (?:want"
    r"|have|need|feel)|is there (?:anything|something|another)"
    r"|(?:you are|you are always) welcome to|what i can|just (?:ask|tell me|say)|(?:ask|tell"
    r"|show) me|(?:any|got (?:any|some)) (?:other|thing))\b|\?\W*$"
)
FEELS = re.compile(
    r"\b(?:it sounds|sounds (?:like|as)|i (?:do )?(?:understand|hear|get (?:that|why|it)"
    r"|see (?:that|why)|know (?:that |it |you|what you))|"
    r"(?:understandable|not alone|have to go through)|sorry|thank you|thanks|i appreciate"
    r"|as an? [\w -]{0,20}(?:ai|model|assistant)"
    r"|i am (?:just |only )?(?:an?|programmed|designed|here|trained)|my (?:purpose|goal|job|aim)"
    r"|have an? \w+ (?:day|evening|time)|good luck|i hope|wish you|curious)\b"
)

# What announces that the thing will be done after all, or tells how it is done.
ANNOUNCES = re.compile(
    r"\b(?:here (?:(?:is|are|was|were|comes?)|it|you go|goes)|this is how|how (?:it|they|that"
    r"|this|one)(?: \w+)? (?:is|was|does?|did)"
    r"|the (?:\w+ )?(?:recipe|steps|method|trick|way|procedure|instructions|answer|process"
    r"|formula|secret|password) (?:is|are|goes|calls|says|needs|takes)|follow these"
    r"|it (?:goes|works) like this|it is (?:\w+ )?(?:simple|easy)|the (?:basic|general|main|rough"
    r"|whole) idea|the gist|the short version|as follows|step (?:1|one)\b)"
)
HOW_TO = re.compile(r"\bhow to (?P<what>\w+)")
# Names what follows such an announcement where it is something else than what was asked.
ELSEWHERE = re.compile(
    r"\b(?:why|reasons?|resources?|alternativ\w+|ideas?|suggestions?|options?|tips|things|facts?"
    r"|information|warnings?|dangers?|risks?"
    r"|legal\w*|lawful\w*|safe\w*|healthy|other|another|different|instead|what i (?:can|could|am)"
    r"|what you (?:can|could) do|numbers? (?:to|of)|help"
    r"|hotlines?|contacts?|steps you can take|clean|nicer|kinder|friendl\w+|general)\b"
)
# Where an answer gives way after it has declined.
GIVES_WAY = re.compile(
    r"\b(?:(?:just )?kidding|joking|if you (?:must|insist|really)|since you (?:ask|insist)\w*"
    r"|between (?:us|you and me)|(?:okay|ok|oh|well|alright|all right|fine)"
    r",? (?:fine|then|very well|all right|okay|ok|since|as|for you|here)|very well"
    r"|that (?:being )?said|with that said|having said that|with that out of the way|now|anyway"
    r"|anyhow|nevertheless"
    r"|nonetheless|for educational purposes|for (?:fun|science|the sake)|hypothetically"
    r"|theoretically|in theory|but (?:sure|ok|okay|fine|yes)"
    r"|as this is (?:for|fiction)|just (?:this once|for you))\b"
)
# Beside a turn: says what holds in general, or of the thing that was asked for.
IN_GENERAL = re.compile(
    r"^(?:\W|so |and |that )*(?:generally|in general|typically|usually|normally|often|commonly"
    r"|traditionally|basically|roughly|essentially|most|many|some|people|adults"
    r"|(?:it|they|you)(?: would| will)? (?:is|was|are|were|can|could|need|just|simply|basically"
    r"|usually|mostly|take|mix|did|do|use|used|start|only)\b"
    r"|\w+ \w* ?(?:usually|generally|typically|normally|often))\b"
)
MADE = re.compile(
    r"\b(?:is|are|was|were|gets?|got|be)\b[^.?!]{0,30}?\b(?:made|done|brewed|mixed|crushed"
    r"|prepared|built|formed|created|produced|combined"
    r"|shaken|boiled|ground|heated|cooked|opened|poured|taken)\b[^.?!]{0,40}?\b(?:of|from|by|with"
    r"|together|using|until|into)\b"
    r"|\b(?:did|do|does|made|make|makes|open|opened|get|got|brew|brewed) (?:it|this|that|one"
    r"|them)\b[^.?!]{0,20}\bby \w+ing\b"
    r"|(?<!if )\byou (?:will |would |just |simply |only |have to |want to )*(?:need(?! (?:for"
    r"|to (?:talk|know|understand|be)|help|support)\b)|(?:want|require) an? )"
)

# ... and then at once.
YIELDS = re.compile(
    r"\b(?:kidding|joking)\b|^\W*(?:okay|ok|sure|fine|yes|alright|all right|very well|here goes"
    r"|whatever)\W*$"
)
# An offer of the thing itself, in part or roughly.
SAME_THING = re.compile(
    r"\b(?:it|version|gist|basics|idea|outline|short|rough\w*|hints?|how (?:they|it)|briefly)\b"
)
# Says of all that was asked that it will not be done, or not further.
OF_THE_WHOLE = re.compile(
    r"\b(?:this|that|it|continue|explain|tell|help you|go (?:on|further|any)|further|request)\b"
)
# Says of a text that was asked for that it will not be written.
OF_THE_TEXT = re.compile(
    r"\b(?:this|that|these|such|help|assist|comply|comfortable|sorry|something)\b"
    r"|^\W*\w+ \w+(?: \w+)?\W*$"
)
OF_THE_REQUEST = re.compile(
    r"\b(?:request|content|writ\w+|creat\w+|compos\w+|generat\w+|provid\w+|produc\w+|translat\w+"
    r"|guidelines|policy)\b"
)
# Where a sentence that declined goes on with something else, and where a clause ends.
TURN = re.compile(
    r"\b(?:but|however|yet|still|though|although|anyway|that said|nevertheless)\b,?\s*|[;:]\s*"
)
CLAUSE = re.compile(
    r"(?P<turn>(?:^|[,.;:]? )(?:but|however|though|although|yet|still|anyway|that said"
    r"|nevertheless|even so),? )"
    r"|[;:](?=\s|$)|\s[–—-]+\s|—"
)
# The ways in which a clause turns away.
WAYS = {
    "warns": WARNS,
    "disapproves": DISAPPROVES,
    "values": VALUES,
    "refers": REFERS,
    "offers": OFFERS,
    "feels": FEELS,
    "instead": INSTEAD,
}
DENIES = re.compile(
    r"\b(?:instead of|rather than|not|no|never|nothing|nobody|rarely|seldom|hardly|cannot)\b"
)
