/** How the page of a reader looks: on a phone, by night, and on two sheets of A4. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --text: #1c1f23; --quiet: #4d555e; --line: #c3c9d0; --page: #fff; --mark: #fff4d6; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8ea; --quiet: #aeb6bf; --line: #4a525b; --page: #16191c; --mark: #3d3413; --link: #8cc2ff; }
}
body { margin: 0; background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
p, ul, ol, dl { margin: .5rem 0; }
ul, ol { padding-left: 1.4rem; }
li { margin: .3rem 0; }
dl div { display: grid; grid-template-columns: 13rem 1fr; gap: 0 1rem; padding: .3rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; }
code { font: .95em/1.4 ui-monospace, Consolas, "DejaVu Sans Mono", monospace; }
a { color: var(--link); }
.notice { background: var(--mark); padding: .75rem 1rem; border-radius: .4rem; }
.note { color: var(--quiet); font-size: .95rem; }
@media (max-width: 36rem) { dl div { grid-template-columns: 1fr; } }
@page { size: A4; margin: 13mm 14mm; }
@media print {
  :root { --text: #000; --quiet: #333; --line: #999; --page: #fff; --mark: #fff; --link: #000; }
  body { font-size: 8.6pt; line-height: 1.32; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  h1 { font-size: 14pt; margin: 0 0 4pt; }
  h2 { font-size: 10.5pt; margin: 7pt 0 2pt; padding-top: 4pt; break-after: avoid; }
  h3 { font-size: 9.3pt; margin: 5pt 0 1pt; break-after: avoid; }
  p, ul, ol, dl { margin: 2pt 0; }
  li { margin: 1pt 0; }
  dl div { grid-template-columns: 48mm 1fr; padding: .5pt 0; }
  .note { font-size: 8.2pt; }
  .notice { border: 1pt solid #000; padding: 4pt 6pt; }
  section { break-inside: avoid; }
}
`;
