"""Texts that would do harm if something obeyed them, and what no page may hold."""

HOSTILE = {
    "script": "</script><script>document.title = 'owned'</script>",
    "comment": "<!-- ]]> --!> <![CDATA[ <style>*{display:none}</style>",
    "attribute": "\" onmouseover='x' style=\"color:red\" '><img src=http://x.example/a.png>",
    "template": "{{ page.run }} {% raw %} &lt;b&gt; &#x202e; &amp;",
    "control": "\x00\x1b[31m red \x07\r\x85\ufeff\ue000\u2028",
    "bidi": "\u202e reversed \u202c \u2066 isolate \u2069 \u200f \u061c",
    "arabic": "مرحبا بالعالم (1)",
    "surrogate": "a lone \ud800 half",
}

# All control characters but the tab and the line break, marks of direction, line separators,
# what has no width, and private use.
UNPRINTABLE = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ue000-\uf8ff\ufeff]"
)
