//! TypeScript for esbuild: modules that import one another, in much of what the language has.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;

use super::write;

/// Declarations of each kind in a module.
const EACH: usize = 40;

/// Writes `main.ts` and the modules below `dir`.
pub fn generate(dir: &Path, modules: usize) -> Result<()> {
    let mut main = String::new();
    for module in 0..modules {
        write(&dir.join(format!("m{module}.ts")), &text(module)?)?;
        writeln!(main, "export * as n{module} from './m{module}';")?;
    }
    write(&dir.join("main.ts"), &main)
}

fn text(m: usize) -> Result<String> {
    let mut text = String::new();
    if let Some(before) = m.checked_sub(1) {
        writeln!(
            text,
            "import {{ C{before}_0 as Base, f{before}_1 as other }} from './m{before}';"
        )?;
    }
    for k in 0..EACH {
        let derives = m > 0 && k == 0;
        let (extends, super_call) =
            if derives { ("extends Base", "super(name); other(1);") } else { ("", "") };
        writeln!(
            text,
            r#"
export interface I{m}_{k} {{ name: string; size: number; next?: I{m}_{k} }}
export enum E{m}_{k} {{ A = {k}, B, C = "c{k}" }}
export class C{m}_{k} {extends} {{
  #count = {k}; static readonly all: Map<string, C{m}_{k}> = new Map();
  constructor(public name: string, private size = {m}) {{ {super_call} C{m}_{k}.all.set(name, this) }}
  get total() {{ return this.#count ?? this.size }}
  async *walk(list: I{m}_{k}[]) {{
    for (const {{ name, ...rest }} of list) {{ yield {{ name, rest, kind: E{m}_{k}.B }}; await 0 }}
  }}
}}
export function f{m}_{k}(a: number, b?: {{ x: {{ y: string }} }}) {{
  const t = `v${{a + 1}} of ${{b?.x?.y ?? "none{k}"}}`;
  switch (a) {{
    case 1: return t.replace(/[a-z]+{k}/giu, (s) => s.toUpperCase());
    case 2: return [...t].map((c, i) => ({{ c, i }}));
    default: try {{ return JSON.parse(t) }} catch {{ return null }}
  }}
}}"#
        )?;
    }
    Ok(text)
}
