"""The HTML of the report: one document that asks for nothing, for phones and wide screens, light and dark.

Everything that is substituted is HTML already; ``rendering`` escapes what is not.
"""

from __future__ import annotations

from string import Template

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --quiet: #5a6068; --paper: #fff; --line: #d8dce1; --tint: #f3f5f7;
  --link: #0b57c2; --wrong: #a4161a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --quiet: #a3aab3; --paper: #16181b; --line: #383d43; --tint: #202428; --link: #8ab4f8;
    --wrong: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0 0; unicode-bidi: isolate; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: 0.5rem 0; white-space: pre-line; }
a { color: var(--link); }
.quiet, caption { color: var(--quiet); }
.problem { color: var(--wrong); }
nav ol { margin: 0.5rem 0; padding-left: 1.5rem; columns: 14rem; }
.scroll { overflow-x: auto; margin: 0.75rem 0; }
.scroll:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.25rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; overflow-wrap: break-word;
  border-bottom: 1px solid var(--line); unicode-bidi: isolate; }
th { font-weight: 600; }
td { max-width: 40rem; min-width: 7rem; }
tbody th { font-weight: 400; min-width: 6rem; }
thead th { background: var(--tint); }
.number { text-align: right; white-space: nowrap; min-width: 0; }
figure { margin: 0.75rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
@media print { .scroll { overflow: visible; } nav { display: none; } }
"""

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>$title</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body>
<header>
<h1 dir="auto">$title</h1>
<p class="quiet">Report of the run $run</p>
</header>
<nav aria-label="Contents">
<ol>
$contents
</ol>
</nav>
<main>
$sections
</main>
</body>
</html>
"""
)
SECTION = Template(
    """<section id="$id" aria-labelledby="$id-title">
<h2 id="$id-title">$title</h2>
$content
</section>"""
)
PARAGRAPH = Template('<p dir="auto">$text</p>')
PROBLEM = Template('<p class="problem">This section is missing. $text</p>')
FIGURE = Template('<figure><img src="data:image/png;base64,$png" alt="$alt"></figure>')
TABLE = Template(
    """<div class="scroll" role="region" aria-label="$name" tabindex="0">
<table>
$caption
<thead><tr>$header</tr></thead>
<tbody>
$rows
</tbody>
</table>
</div>$more"""
)
MORE = Template('\n<p class="quiet">The first $shown of $all rows.</p>')
