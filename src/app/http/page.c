#include "app/http/page.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c2430;--faint:#5b6675;--line:#dde3ea;--ground:#fff;"
    "--raised:#f4f7fa;--link:#0b5cad}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e3e8ef;--faint:#98a4b3;--line:#2b333d;"
    "--ground:#12161b;--raised:#1a2027;--link:#7db8f5}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--ground);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}"
    "main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem}"
    "h1{font-size:1.5rem;line-height:1.3;margin:0 0 1rem;font-weight:600;overflow-wrap:anywhere}"
    "h2{font-size:1rem;margin:2rem 0 .5rem;font-weight:600}"
    "p{margin:.5rem 0}"
    "a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}"
    "table{width:100%;border-collapse:collapse}"
    "th{text-align:left;font-weight:500;font-size:.85rem;color:var(--faint)}"
    "th,td{padding:.4rem .75rem;border-bottom:1px solid var(--line);vertical-align:top}"
    "tbody tr:hover{background:var(--raised)}"
    ".name{width:100%;overflow-wrap:anywhere}"
    ".size,.date{white-space:nowrap;color:var(--faint);font-variant-numeric:tabular-nums}"
    ".size{text-align:right}"
    ".folder{font-weight:600}"
    "th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}"
    "code{font:.875rem/1.6 ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "overflow-wrap:anywhere;user-select:all}"
    "header{display:flex;align-items:center;gap:.75rem;margin-bottom:1rem}header h1{margin:0}"
    "svg{width:2.25rem;height:2.25rem;flex:none;fill:none;stroke:var(--link);stroke-width:2.5;"
    "stroke-linecap:round}"
    ".row{display:grid;grid-template-columns:minmax(0,25rem) minmax(0,1fr);gap:.1rem 1.5rem;"
    "padding:.5rem 0;border-bottom:1px solid var(--line);align-items:baseline}"
    ".row span{color:var(--faint)}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.5rem;margin:1.25rem 0;"
    "padding:.9rem 1.1rem;background:var(--raised);border:1px solid var(--line);"
    "border-radius:8px}"
    "dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}"
    "footer{margin-top:1.5rem;font-size:.85rem;color:var(--faint)}"
    "@media(max-width:36rem){.date{display:none}main{padding:1.5rem .9rem}"
    ".row{grid-template-columns:minmax(0,1fr)}}";

void weir__page_begin(struct textout *out, const char *title, struct http_text subject)
{
    textout_str(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                     "<title>");
    textout_str(out, title);
    textout_escaped(out, weir__escape_html, subject);
    textout_str(out, "</title>\n<style>");
    textout_put(out, style, sizeof(style) - 1);
    textout_str(out, "</style>\n</head>\n<body>\n<main>\n");
}

void weir__page_end(struct textout *out)
{
    textout_str(out, "</main>\n</body>\n</html>\n");
}
