"""What the data page adds to the report's style sheet: bars, tokens, folded rows."""

STYLE = """
svg .bar { fill: var(--base); } svg .lost { fill: var(--bad); }
svg .bar:hover { fill: var(--accent); }
svg .quantile { stroke: var(--faint); stroke-dasharray: 2 3; }
svg line.cut { stroke: var(--bad); stroke-width: 1.5; } svg text.cut { fill: var(--bad); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 0 2rem; }
.pair figure { min-width: 0; } .pair svg { width: 100%; }
.share { display: inline-block; height: .5rem; background: var(--base); border-radius: 1px;
  vertical-align: baseline; margin-right: .5rem; min-width: 1px; }
td.bars { text-align: left; width: 30%; min-width: 7rem; }
td.odd { color: var(--bad); font-weight: 600; }
.said { margin: 1rem 0 0; padding-left: 1.125rem; color: var(--soft); font-size: .875rem;
  max-width: 54rem; }
.legend { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin-top: 1.25rem;
  font-size: .875rem; color: var(--soft); }
details.task { border-top: 1px solid var(--rule); margin: 0; padding: .875rem 0; }
details.task > summary { font-size: 1rem; font-weight: 600; color: var(--ink); width: auto; }
details.task > summary small { font-weight: 400; color: var(--soft); margin-left: .5rem; }
details.template { margin: .75rem 0 0; padding-left: 1.125rem; }
details.template > summary { font-size: .9375rem; color: var(--ink); width: auto; }
details.template > summary small { color: var(--soft); margin-left: .5rem; }
details.template[open] { padding-bottom: 1rem; }
details.template .item { margin-top: .75rem; padding: 1rem 0 1.25rem; }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1.5rem 2rem; }
.two > div { min-width: 0; }
.two pre { margin: 0; white-space: pre-wrap; max-height: 48rem; overflow-y: auto; }
.tokens { white-space: pre-wrap; font-size: .875rem; line-height: 1.75; }
.tokens span, .legend span.t {
  box-shadow: inset -1px 0 color-mix(in srgb, var(--faint) 40%, transparent); }
.tokens .l, .legend .l { background: var(--mark);
  box-shadow: inset -1px 0 color-mix(in srgb, var(--accent) 40%, transparent); }
.tokens .x, .legend .x { font: .75rem/1.4 ui-monospace, "SF Mono", Menlo, Consolas,
  "Liberation Mono", monospace; color: var(--soft); border: 1px solid var(--faint);
  border-radius: .25rem; padding: 0 .1875rem; margin: 0 1px; box-shadow: none; }
.tokens .l.x, .legend .l.x { color: var(--accent); border-color: var(--accent); }
.tokens .n { box-shadow: none; }
.tokens .n::after { content: "↵"; color: var(--faint); }
.badge { color: var(--bad); font-weight: 600; }
.held { color: var(--accent); }
@media (max-width: 54rem) { .two { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 40rem) {
  details.template { padding-left: .5rem; }
  td.bars, thead th:empty { display: none; }
}
@media print { .two pre { max-height: none; } }
"""
