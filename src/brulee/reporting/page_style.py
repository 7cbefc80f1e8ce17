"""The style sheet of the report page: one accent colour, system fonts, light, dark, print."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f6f3; --ink: #1a1b1e; --soft: #5c6068; --faint: #8b8f97;
  --rule: #e3e3de; --accent: #a8481a; --base: #68707c; --bad: #a3262a; --good: #2d6a46;
  --mark: #f8e3d3; --mark-base: #e8eaed; --gone: #f7dcdc; --new: #d9ecdf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #151619; --panel: #1e2024; --ink: #ecebe7; --soft: #a6a9b0; --faint: #7d818a;
    --rule: #303238; --accent: #f0a06a; --base: #a3acb9; --bad: #ff8f8c; --good: #86d0a3;
    --mark: #4a2e1b; --mark-base: #31363d; --gone: #4d2627; --new: #203f2d;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
main { max-width: 67rem; margin: 0 auto; padding: 4.5rem 2rem 6rem; }
h1, h2, h3, h4 { line-height: 1.25; margin: 0; text-wrap: balance; }
h1 { font-size: 1rem; font-weight: 600; }
h2 { font-size: 1.375rem; font-weight: 600; letter-spacing: -.012em; }
h3 { font-size: 1rem; font-weight: 600; margin: 2.75rem 0 1rem; }
h4 { font-size: .8125rem; font-weight: 600; color: var(--soft); }
p { margin: 0; max-width: 42rem; }
section { margin-top: 5rem; }
section > h2 + p, section > p.note { color: var(--soft); margin-top: .5rem; }
.masthead { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; align-items: baseline;
  padding-bottom: 1rem; border-bottom: 1px solid var(--rule); }
.masthead p { color: var(--soft); font-size: .9375rem; }
.verdict { margin-top: 3rem; max-width: 54rem; }
.verdict p { max-width: none; text-wrap: pretty; line-height: 1.32; font-weight: 600;
  font-size: clamp(1.375rem, 1.05rem + 1.5vw, 2rem); letter-spacing: -.018em; }
.verdict ul { list-style: none; margin: 1.5rem 0 0; padding: 0; font-size: 1.0625rem; }
.verdict li { padding: .125rem 0 .125rem 1.25rem; position: relative; }
.verdict li::before { content: ""; position: absolute; left: 0; top: .78em; width: .5rem;
  height: .5rem; border-radius: 50%; background: var(--faint); }
.verdict .alarm { color: var(--bad); font-weight: 600; }
.verdict .alarm::before { background: var(--bad); }
.verdict .aside { color: var(--soft); font-weight: 400; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: 2rem; margin: 3.5rem 0 0; }
.figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.figures dt { color: var(--soft); font-size: .875rem; line-height: 1.4; margin-top: .25rem; }
.figures dd { margin: 0; font-size: 1.875rem; line-height: 1.2; font-weight: 600;
  letter-spacing: -.02em; white-space: nowrap; }
.figures dd small { font-size: 1rem; font-weight: 500; letter-spacing: 0; color: var(--soft); }
.scroll { overflow-x: auto; margin-top: 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; line-height: 1.4; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding-bottom: .5rem; }
th, td { text-align: right; padding: .625rem 0 .625rem 1.75rem; white-space: nowrap;
  border-bottom: 1px solid var(--rule); vertical-align: baseline; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { font-weight: 500; font-size: .8125rem; color: var(--soft);
  border-bottom-color: var(--faint); }
tbody th { font-weight: 500; }
td.words, th.words { text-align: left; white-space: normal; min-width: 15rem; }
td.note { white-space: normal; min-width: 8rem; }
td small, th small { color: var(--soft); font-size: .8125rem; margin-left: .5rem;
  font-weight: 400; }
td.up { color: var(--good); font-weight: 600; } td.down { color: var(--bad); font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  gap: 0 3rem; margin: 1.5rem 0 0; }
.facts div { display: flex; justify-content: space-between; gap: 1.5rem; padding: .625rem 0;
  border-bottom: 1px solid var(--rule); font-size: .9375rem; line-height: 1.4; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; text-align: right; font-weight: 500; }
figure { margin: 2rem 0 0; }
figcaption { color: var(--soft); font-size: .875rem; margin-bottom: .75rem; display: flex;
  flex-wrap: wrap; gap: 0 1.25rem; }
figcaption .key { display: inline-flex; align-items: center; gap: .45rem; }
figcaption i { width: .625rem; height: .625rem; border-radius: 50%; background: var(--accent); }
figcaption i.base { background: var(--base); } figcaption i.line { height: 2px; width: 1.1rem;
  border-radius: 0; } figcaption i.raw { opacity: .35; }
figcaption i.ring { background: none; border: 2px solid var(--base); }
svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
svg.wide { width: 100%; }
.narrow { display: none; }
svg text { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.label { fill: var(--ink); font-size: 13px; } svg text.end { text-anchor: end; }
svg text.middle { text-anchor: middle; }
svg line { stroke: var(--rule); } svg .axis, svg .zero { stroke: var(--faint); }
svg .curve { fill: none; stroke: var(--accent); stroke-linejoin: round; }
svg .link { stroke: var(--faint); opacity: .45; }
svg .median { stroke: var(--ink); stroke-width: 1.5; }
svg .quartiles { stroke: var(--faint); stroke-width: 16; opacity: .25; }
svg .raw { stroke-width: 1; opacity: .35; } svg .smooth { stroke-width: 2.25; }
svg .validation { stroke: var(--base); stroke-width: 1.25; stroke-dasharray: 3 3; }
svg .validation-dot { fill: var(--paper); stroke: var(--base); stroke-width: 2; }
svg .hover { fill: transparent; } svg .hover:hover { fill: var(--accent); fill-opacity: .3; }
svg .dot circle { fill: var(--accent); } svg .dot .whisker { stroke: var(--accent);
  stroke-width: 2; stroke-linecap: round; }
svg .base circle { fill: var(--base); } svg .base .whisker { stroke: var(--base); }
svg .kept circle, svg .unclear circle { fill: var(--base); }
svg .kept .whisker, svg .unclear .whisker { stroke: var(--base); }
svg .forgot circle { fill: var(--bad); } svg .forgot .whisker { stroke: var(--bad); }
svg .improved circle { fill: var(--good); } svg .improved .whisker { stroke: var(--good); }
.item { border-top: 1px solid var(--rule); padding: 1.5rem 0 2.25rem; }
.item header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; justify-content: space-between;
  font-size: .875rem; color: var(--soft); margin-bottom: 1.25rem; }
.item header h4 { color: var(--ink); font-size: .9375rem; }
.item .texts { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1.5rem 2rem; }
.item .prompt { background: var(--panel); border-radius: .375rem; padding: 1rem 1.25rem 1.125rem;
  margin-bottom: 1.5rem; }
.item h3, .item h5 { font-size: .8125rem; font-weight: 600; color: var(--soft);
  margin: 0 0 .375rem; }
.item h5.after { color: var(--accent); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9375rem; line-height: 1.6;
  max-width: 46rem; }
.prompt .text { font-size: .875rem; line-height: 1.55; }
.empty { color: var(--soft); font-style: italic; }
mark { background: var(--mark); color: inherit; border-radius: .1875rem; padding: .0625rem 0; }
.before mark { background: var(--mark-base); }
.invented { text-decoration: underline wavy var(--bad); text-underline-offset: .25em; }
del { background: var(--gone); text-decoration-thickness: 1px; }
ins { background: var(--new); text-decoration: none; }
del + ins { margin-left: .25em; }
details { margin-top: .75rem; font-size: .9375rem; }
summary { cursor: pointer; color: var(--soft); font-size: .875rem; width: fit-content; }
summary:hover { color: var(--ink); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 2px; }
details .text { margin-top: .5rem; }
pre, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .8125rem; line-height: 1.6; }
pre { background: var(--panel); border-radius: .375rem; padding: 1rem 1.25rem; margin: .75rem 0 0;
  overflow-x: auto; }
footer { margin-top: 5rem; padding-top: 1rem; border-top: 1px solid var(--rule);
  color: var(--soft); font-size: .8125rem; }
@media (max-width: 68rem) {
  th, td { padding-left: 1rem; } thead th { white-space: normal;
    overflow-wrap: normal; vertical-align: bottom; }
}
@media (max-width: 54rem) {
  td small, th small { display: block; margin-left: 0; }
  td.words, th.words { min-width: 8rem; }
  table { font-size: .875rem; } th, td { padding-left: .75rem; }
  tbody th { white-space: normal; min-width: 7.5rem; }
  .item .texts { grid-template-columns: 1fr; }
}
@media (max-width: 40rem) {
  main { padding: 2rem 1.25rem 4rem; }
  section { margin-top: 3.5rem; }
  .verdict { margin-top: 2rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.75rem 1rem;
    margin-top: 2.5rem; }
  .figures dd { font-size: 1.5rem; }
  .wide { display: none; } .narrow { display: block; width: 100%; }
  .item .prompt { margin-left: -.5rem; margin-right: -.5rem; padding: .875rem 1rem; }
  th, td { padding-left: 1.25rem; }
}
@media print {
  :root { --paper: #fff; --panel: #f6f6f3; --ink: #000; --soft: #444; --faint: #777;
    --rule: #ddd; --accent: #a8481a; --base: #68707c; --mark: #f8e3d3; --mark-base: #e8eaed;
    --bad: #a3262a; --good: #2d6a46; --gone: #f7dcdc; --new: #d9ecdf; }
  main { max-width: none; padding: 0; }
  section { margin-top: 2.5rem; }
  .item, figure, .figures, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  mark, del, ins, i, .prompt { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  th, td { padding-left: .75rem; } thead th { white-space: normal;
    overflow-wrap: normal; vertical-align: bottom; }
  td small, th small { display: block; margin-left: 0; }
  tbody th { white-space: normal; min-width: 7.5rem; } td.words { min-width: 8rem; }
}
"""
