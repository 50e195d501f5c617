//! What an installed service is made of: this very binary, and what of this shell's environment it
//! would not see by itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf, absolute};

use anyhow::Context as _;
use providers::Env;

use super::refused;
use crate::config::{Config, Flags, Footing};

pub(super) struct Facts {
    pub(super) config: Config,
    pub(super) binary: PathBuf,
    /// What the service is to find in its environment.
    pub(super) variables: BTreeMap<String, String>,
}

impl Facts {
    pub(super) fn gather(config: Config, flags: &Flags) -> anyhow::Result<Self> {
        let running = std::env::current_exe().context("cannot tell where this binary is")?;
        let binary = fs::canonicalize(&running)
            .with_context(|| format!("cannot find this binary at {}", running.display()))?;
        let variables = variables(&config.env, flags)?;
        Ok(Self { config, binary, variables })
    }
}

/// A binary among the results of a build goes with the next `cargo clean`.
pub(super) fn warning(binary: &Path) -> Option<String> {
    let folder = binary.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists())?;
    Some(format!(
        "note: {} will vanish when {} is cleaned; put it where it stays, as `cargo install --path \
         crates/daemon` does, and install from there",
        binary.display(),
        folder.display()
    ))
}

/// A service of root, or one over the home folder of somebody else, is not what was meant.
pub(super) fn refuse_others(home: &Path) -> anyhow::Result<()> {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return Err(refused(
            "this is a service of one user, and root is none",
            "run it as the user whose agents are counted, without sudo; for several users of one \
             machine there is systemd/tallyd@.service (docs/service.md)",
        ));
    }
    let owner =
        fs::metadata(home).with_context(|| format!("cannot examine {}", home.display()))?.uid();
    if owner != user.as_raw() {
        return Err(refused(
            format!(
                "the home folder {} belongs to user {owner}, and this is user {}",
                home.display(),
                user.as_raw()
            ),
            "`sudo` or `su` kept HOME of somebody else: log in as the user, or use \
             `machinectl shell USER@`",
        ));
    }
    Ok(())
}

/// The variables without which a process of this user would look for logs in other places, or keep
/// another database. Which these are is not listed anywhere: one that can be left out and nothing
/// changes is left out.
pub(super) fn variables(env: &Env, flags: &Flags) -> anyhow::Result<BTreeMap<String, String>> {
    let mut env = env.clone();
    for (name, path) in [("TALLYD_CONFIG", &flags.config), ("TALLYD_DATA_DIR", &flags.data_dir)] {
        if let Some(path) = path {
            let path = absolute(path).with_context(|| format!("{} is no path", path.display()))?;
            let path = path.into_os_string().into_string();
            let path = path.map_err(|path| not_text(Path::new(&path)))?;
            env.vars.insert(name.to_owned(), path);
        }
    }
    let wanted = Effect::of(&env).anchored();
    for name in env.vars.keys().cloned().collect::<Vec<_>>() {
        let Some(value) = env.vars.get(&name) else { continue };
        // A relative folder means another one wherever the service starts.
        let whole = absolute(value).ok().and_then(|path| path.into_os_string().into_string().ok());
        if let Some(whole) = whole {
            let mut anchored = env.clone();
            anchored.vars.insert(name.clone(), whole);
            if Effect::of(&anchored).anchored() == wanted {
                env = anchored;
            }
        }
        let mut without = env.clone();
        without.vars.remove(&name);
        if Effect::of(&without).anchored() == wanted {
            env = without;
        }
    }
    Ok(env.vars)
}

/// What an environment decides.
#[derive(PartialEq, Eq)]
struct Effect {
    footing: Footing,
    roots: Vec<Vec<PathBuf>>,
}

impl Effect {
    fn of(env: &Env) -> Self {
        let roots = providers::ALL.iter().map(|provider| provider.roots(env)).collect();
        Self { footing: Footing::of(env), roots }
    }

    /// The same, with what is relative taken from the current folder.
    fn anchored(mut self) -> Self {
        let roots = self.roots.iter_mut().flatten();
        for path in roots.chain([&mut self.footing.file]) {
            if let Ok(whole) = absolute(&*path) {
                *path = whole;
            }
        }
        self
    }
}

/// The configuration that an installed service has, which may not be that of this shell.
pub(super) fn of_service(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    recorded: Option<BTreeMap<String, String>>,
) -> anyhow::Result<Config> {
    let Some(recorded) = recorded else { return Ok(Config::load(vars, flags)?) };
    let home = vars.get("HOME").map(PathBuf::from).unwrap_or_default();
    let mut env = Env { home, vars };
    for name in variables(&env, &Flags::default())?.keys() {
        env.vars.remove(name);
    }
    env.vars.extend(recorded);
    Ok(Config::load(env.vars, flags)?)
}

pub(super) fn not_text(path: &Path) -> anyhow::Error {
    refused(
        format!("{} is not valid UTF-8", path.display()),
        "a service file can name only paths that are",
    )
}

/// In which variables two environments of the service differ, in words.
pub(super) fn drift(
    recorded: &BTreeMap<String, String>,
    shell: &BTreeMap<String, String>,
) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = recorded.keys().chain(shell.keys()).collect();
    let differs =
        names.into_iter().filter_map(|name| match (recorded.get(name), shell.get(name)) {
            (Some(one), Some(other)) if one == other => None,
            (Some(one), Some(other)) => {
                Some(format!("{name} is {other} here, the service has {one}"))
            }
            (Some(one), None) => Some(format!("{name} is not set here, the service has {one}")),
            (None, Some(other)) => Some(format!("{name} is {other} here, the service has none")),
            (None, None) => None,
        });
    differs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vars: &[(&str, &str)], expect: &[(&str, &str)]) {
        let own = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let env = Env { home: "/home/ada".into(), vars: own(vars) };
        assert_eq!(variables(&env, &Flags::default()).unwrap(), own(expect), "{vars:?}");
    }

    #[test]
    fn what_decides_where_is_read_and_written_is_recorded_and_nothing_else() {
        let agents = [
            ("CLAUDE_CONFIG_DIR", "/w/claude"),
            ("CODEX_HOME", "/w/codex"),
            ("GEMINI_CLI_HOME", "/w/gemini"),
            ("OPENCLAW_PROFILE", "work"),
            ("OPENCODE_DB", "other.db"),
            ("QWEN_HOME", "~/qwen"),
        ];
        check(&agents, &agents);
        check(&[("SHELL", "/bin/sh"), ("PWD", "/w"), ("HOME", "/home/ada"), ("EDITOR", "vi")], &[]);
        let own =
            [("TALLYD_CONFIG", "/c.toml"), ("TALLYD_DATA_DIR", "~/d"), ("TALLYD_LOG", "warn")];
        check(&own, &own);
        check(&[("TALLYD_LISTEN", "127.0.0.1:9")], &[("TALLYD_LISTEN", "127.0.0.1:9")]);
        check(&[("TZ", "Europe/Berlin")], &[("TZ", "Europe/Berlin")]);
    }

    #[test]
    fn what_says_what_is_so_anyway_is_left_out() {
        check(&[("CODEX_HOME", "/home/ada/.codex"), ("CLAUDE_CONFIG_DIR", "")], &[]);
        check(&[("XDG_CONFIG_HOME", "/home/ada/.config"), ("XDG_DATA_HOME", "relative")], &[]);
        check(&[("GEMINI_CLI_HOME", "relative")], &[]);
        check(&[("XDG_DATA_HOME", "/data")], &[("XDG_DATA_HOME", "/data")]);
    }

    #[test]
    fn of_two_variables_that_say_the_same_one_is_kept() {
        check(
            &[("QWEN_HOME", "/w/qwen"), ("QWEN_RUNTIME_DIR", "/w/qwen")],
            &[("QWEN_RUNTIME_DIR", "/w/qwen")],
        );
    }

    #[test]
    fn relative_folders_are_those_of_this_shell() {
        let here = std::env::current_dir().unwrap();
        let below = |name: &str| here.join(name).display().to_string();
        check(&[("CODEX_HOME", "codex")], &[("CODEX_HOME", &below("codex"))]);
        check(&[("TALLYD_CONFIG", "t.toml")], &[("TALLYD_CONFIG", &below("t.toml"))]);
        // The provider takes no relative one, wherever it is asked.
        check(&[("CLAUDE_CONFIG_DIR", "claude")], &[]);
    }

    #[test]
    fn flags_of_install_are_recorded_as_variables() {
        let env = Env { home: "/home/ada".into(), vars: BTreeMap::new() };
        let flags = Flags { data_dir: Some("/d".into()), ..Flags::default() };
        assert_eq!(variables(&env, &flags).unwrap()["TALLYD_DATA_DIR"], "/d");
    }

    #[test]
    fn a_binary_among_the_results_of_a_build_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("debug/tallyd");
        assert_eq!(warning(&binary), None);
        fs::write(folder.path().join("CACHEDIR.TAG"), "").unwrap();
        assert!(warning(&binary).unwrap().contains("will vanish"));
    }

    #[test]
    fn drift_names_each_variable_that_differs() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let recorded = of(&[("A", "1"), ("B", "2"), ("C", "3")]);
        let shell = of(&[("A", "1"), ("B", "9"), ("D", "4")]);
        assert_eq!(
            drift(&recorded, &shell),
            [
                "B is 9 here, the service has 2",
                "C is not set here, the service has 3",
                "D is 4 here, the service has none"
            ]
        );
    }
}
