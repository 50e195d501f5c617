//! Builds the page in `web/` where Node.js is there, and lists its files for `http/assets.rs`.
//!
//! Without the page the binary is whole, too: it serves a plain one. So nothing that goes wrong
//! with Node.js ends the build; it is told as a warning. All work is done below `OUT_DIR`, none in
//! the source tree.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the page is made from. Anything else in `web/` is for its tests.
const INPUTS: [&str; 7] = [
    "index.html",
    "package-lock.json",
    "package.json",
    "public",
    "src",
    "tsconfig.json",
    "vite.config.ts",
];

/// Why the page was not built.
enum Trouble {
    /// Perhaps later.
    NoNode(String),
    Failed(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "cargo tells its folder so")]
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    println!("cargo::rerun-if-changed=build.rs");
    let files = match build(Path::new("../../web"), &out.join("web"), &out.join("npm.log")) {
        Ok(dist) => files(&dist)?,
        Err(trouble) => {
            let why = match trouble {
                Trouble::NoNode(why) => {
                    println!("cargo::rerun-if-env-changed=PATH");
                    why
                }
                Trouble::Failed(why) => why,
            };
            println!(
                "cargo::warning=built without the page, a plain one is served instead: {why}; once \
                 that is mended, `touch web/package.json` and build again"
            );
            Vec::new()
        }
    };
    std::fs::write(out.join("page_files.rs"), table(&files))
}

/// Makes the page from a copy of `web`; where it is then.
fn build(web: &Path, copy: &Path, log: &Path) -> Result<PathBuf, Trouble> {
    if !web.is_dir() {
        println!("cargo::rerun-if-changed={}", web.join("package.json").display());
        return Err(Trouble::Failed("web/ is missing".to_owned()));
    }
    std::fs::create_dir_all(copy)?;
    for input in INPUTS {
        let (from, to) = (web.join(input), copy.join(input));
        remove(&to)?;
        if from.exists() {
            println!("cargo::rerun-if-changed={}", from.display());
            copy_all(&from, &to)?;
        }
    }
    check_node(copy)?;
    install(copy, log)?;
    run(Command::new("npm").args(["run", "build"]).env("NODE_ENV", "production"), copy, log)?;
    Ok(copy.join("dist"))
}

/// Whether Node.js is there, in a version that `package.json` takes.
fn check_node(copy: &Path) -> Result<(), Trouble> {
    const QUESTION: &str = "process.versions.node + ' ' + require('./package.json').engines.node";
    let asked = Command::new("node").args(["-p", QUESTION]).current_dir(copy).output();
    let asked = asked.map_err(|e| Trouble::NoNode(format!("there is no Node.js ({e})")))?;
    let answer = String::from_utf8_lossy(&asked.stdout);
    match answer.trim().split_once(' ') {
        Some((version, wanted)) if is_in(version, wanted) => Ok(()),
        Some((version, wanted)) => {
            Err(Trouble::NoNode(format!("Node.js {version} is not {wanted}")))
        }
        None => Err(Trouble::NoNode(format!("Node.js does not work ({})", asked.status))),
    }
}

/// Whether a version is in one like `^20.19.0 || >=22.12.0`.
fn is_in(version: &str, wanted: &str) -> bool {
    let parse = |text: &str| text.split('.').map(|n| n.parse().ok()).collect::<Option<Vec<u32>>>();
    let Some(version) = parse(version) else { return false };
    wanted.split("||").map(str::trim).any(|one| {
        let is_same_major = one.starts_with('^');
        let least = parse(one.trim_start_matches(['^', '>', '=']));
        least.is_some_and(|least| {
            version >= least && (!is_same_major || version.first() == least.first())
        })
    })
}

/// Installs what the lock file names, unless it is installed already.
fn install(copy: &Path, log: &Path) -> Result<(), Trouble> {
    let (lock, stamp) = (copy.join("package-lock.json"), copy.join("node_modules/.installed"));
    let wanted = std::fs::read(lock)?;
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    // No package's own script runs, and an unreachable registry does not hold up the build.
    let quick = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"];
    let mut ci = Command::new("npm");
    ci.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]);
    ci.arg("--prefer-offline").args(quick);
    run(&mut ci, copy, log)?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// Runs to its end what must succeed. All that it says goes to the log.
fn run(command: &mut Command, folder: &Path, log: &Path) -> Result<(), Trouble> {
    let output = command
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env_remove("FORCE_COLOR")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Trouble::NoNode(format!("there is no npm ({e})")))?;
    std::fs::write(log, [&output.stdout[..], &output.stderr].concat())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().find(|line| line.contains("rror")).unwrap_or("it says nothing");
    let mut name = Path::new(command.get_program()).display().to_string();
    for argument in command.get_args().take_while(|argument| !is_option(argument)) {
        _ = write!(name, " {}", argument.display());
    }
    Err(Trouble::Failed(format!("`{name}` failed with `{error}`, see {}", log.display())))
}

fn is_option(argument: &std::ffi::OsStr) -> bool {
    argument.as_encoded_bytes().starts_with(b"-")
}

/// All files of the page, by their path below `dist`.
fn files(dist: &Path) -> io::Result<Vec<String>> {
    let (mut files, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(dist.join(&folder))? {
            let entry = entry?;
            let path = format!("{folder}{}", entry.file_name().display());
            if entry.file_type()?.is_dir() {
                folders.push(format!("{path}/"));
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The files as an expression of Rust; those that are another one compressed stand with it.
fn table(files: &[String]) -> String {
    let is_there = |name: &str| files.iter().any(|file| file == name);
    let bytes = |name: &str| {
        format!("include_bytes!(concat!(env!(\"OUT_DIR\"), {:?}))", format!("/web/dist/{name}"))
    };
    let compressed = |name: String| match is_there(&name) {
        true => format!("Some({})", bytes(&name)),
        false => "None".to_owned(),
    };
    let is_compressed =
        |name: &str| [".br", ".gz"].iter().any(|end| name.strip_suffix(end).is_some_and(is_there));
    let mut table = "&[\n".to_owned();
    for name in files.iter().filter(|name| !is_compressed(name)) {
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        _ = writeln!(
            table,
            "File {{ path: {path:?}, kind: {:?}, plain: {}, gzip: {}, brotli: {} }},",
            kind(name),
            bytes(name),
            compressed(format!("{name}.gz")),
            compressed(format!("{name}.br")),
        );
    }
    table + "]\n"
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return std::fs::copy(from, to).map(drop);
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
