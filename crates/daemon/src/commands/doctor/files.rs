//! Configuration, folders, disk, and the agents' logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use store::Filesystem;

use super::look::Look;
use super::processes::Watches;
use super::{Finding, Mark, list, parts};
use crate::commands::{FOUND, root_state};
use crate::http::SMALL_DISK;
use crate::text;

pub(super) fn configuration(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "configuration";
    let file = look.config.file.display();
    vec![match &look.complaint {
        Some(complaint) => {
            let (wrong, hint) = parts(complaint);
            let remedy = format!(
                "{hint}\nmend it, then `tallyd config` shows what is in effect; all below is \
                 looked at as if it were not there"
            );
            Finding::new(ABOUT, Mark::Problem, wrong, remedy.trim_start())
        }
        None if look.config.file_exists => Finding::ok(ABOUT, format!("{file}")),
        None => Finding::ok(ABOUT, format!("all defaults, as there is no {file}")),
    }]
}

pub(super) fn home(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "home";
    let home = &look.home;
    let record = home.on_record.as_ref().map(|record| record.display().to_string());
    let set = format!("export HOME={}", record.as_deref().unwrap_or("/home/YOU"));
    let below = format!("{set}\nagents' logs are looked for below it");
    vec![match &home.said {
        None => Finding::new(ABOUT, Mark::Problem, "HOME is not set", below),
        Some(said) if !home.is_usable() => {
            Finding::new(ABOUT, Mark::Problem, format!("HOME is {said}, which is no folder"), below)
        }
        Some(said) if home.owner.is_some_and(|owner| owner != home.uid) => {
            let owner = home.owner.unwrap_or_default();
            let seen = format!("{said} belongs to user {owner}, and this runs as {}", home.uid);
            let remedy = "run tallyd as the user whose agents' logs are to be counted: without \
                          `sudo`, or with `sudo -iu USER`";
            Finding::new(ABOUT, Mark::Warning, seen, remedy)
        }
        Some(said) if record.as_ref().is_some_and(|record| record != said) => {
            let seen = format!("HOME is {said}; on record is {}", record.unwrap_or_default());
            Finding::new(ABOUT, Mark::Note, seen, format!("if the first is not meant: {set}"))
        }
        Some(said) => Finding::ok(ABOUT, said),
    }]
}

pub(super) fn data_dir(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "data directory";
    let (facts, path) = (&look.data_dir, quoted(&look.config.data_dir));
    let choose = "choose another folder with --data-dir or `data_dir` in the configuration";
    vec![if facts.exists && facts.owner != look.home.uid {
        let seen = format!("{path} belongs to user {}", facts.owner);
        let remedy = format!("sudo chown -R \"$(id -u)\" {path}\nor run tallyd as that user");
        Finding::new(ABOUT, Mark::Problem, seen, remedy)
    } else if facts.is_read_only {
        let seen = format!("{path} is on a read-only filesystem");
        let remedy = format!("have it mounted writable\nor {choose}");
        Finding::new(ABOUT, Mark::Problem, seen, remedy)
    } else if !facts.is_writable && facts.exists {
        let seen = format!("{path} cannot be written to");
        Finding::new(ABOUT, Mark::Problem, seen, format!("chmod 700 {path}\nor {choose}"))
    } else if !facts.is_writable {
        Finding::new(ABOUT, Mark::Problem, format!("{path} cannot be made"), choose)
    } else if facts.exists && facts.mode & 0o077 != 0 {
        let seen = format!("{path} lets other users in (mode {:o})", facts.mode);
        Finding::new(ABOUT, Mark::Warning, seen, format!("chmod 700 {path}"))
    } else if facts.exists {
        Finding::ok(ABOUT, format!("{path}, private"))
    } else {
        Finding::ok(ABOUT, format!("{path}, made at the first start"))
    }]
}

pub(super) fn filesystem(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "filesystem";
    let path = quoted(&look.config.data_dir);
    vec![match look.data_dir.filesystem {
        Filesystem::Local => Finding::ok(ABOUT, "the data directory is on a local disk"),
        Filesystem::Fuse => Finding::new(
            ABOUT,
            Mark::Note,
            format!("{path} is on a filesystem in user space (FUSE)"),
            "fine for an encrypted home folder; of a network, choose a local disk with --data-dir",
        ),
        Filesystem::Remote(kind) => Finding::new(
            ABOUT,
            Mark::Problem,
            format!("{path} is on a network filesystem ({kind}): two machines could write at once"),
            "choose a folder on a local disk with --data-dir or `data_dir` in the configuration",
        ),
    }]
}

pub(super) fn disk(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "disk";
    let Some(free) = look.data_dir.disk_free else { return Vec::new() };
    let left = format!("{} left on the disk of the database", text::bytes(free));
    vec![if free < SMALL_DISK {
        let remedy = format!(
            "make room on it: `df -h {}`; nothing is lost meanwhile, it is read once there is room",
            look.config.data_dir.display()
        );
        Finding::new(ABOUT, Mark::Warning, left, remedy)
    } else {
        Finding::ok(ABOUT, left)
    }]
}

pub(super) fn logs(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "logs";
    let sources = &look.survey.sources;
    if sources.is_empty() {
        let roots = look.config.roots();
        let places = list(&roots, |root| root.provider.place(&root.path).display().to_string());
        return vec![Finding::new(
            ABOUT,
            Mark::Warning,
            format!("no agent's logs found; looked in {places}"),
            "start an agent once; `tallyd providers` lists all places\n\
             elsewhere? Set the agent's own variable, or `roots` of the agent in the configuration",
        )];
    }
    let mut agents: BTreeMap<&str, u64> = BTreeMap::new();
    for (provider, _) in sources {
        *agents.entry(provider).or_default() += 1;
    }
    let agents: Vec<String> =
        agents.iter().map(|(agent, n)| format!("{agent} {}", text::count(*n))).collect();
    vec![Finding::ok(ABOUT, format!("found: {}", agents.join(", ")))]
}

pub(super) fn permissions(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "permissions";
    let mut findings = Vec::new();
    let mut concern = |what: &str, paths: &[PathBuf], mode: &str| {
        if let Some(first) = paths.first() {
            let seen = format!("{what}: {}", list(paths, |path| path.display().to_string()));
            let first = quoted(first);
            let remedy = format!("chmod u+{mode} {first}\nnot yours? `ls -ld {first}` says whose");
            findings.push(Finding::new(ABOUT, Mark::Warning, seen, remedy));
        }
    };
    concern("folders that may not be listed", &look.survey.denied, "rx");
    concern("logs that may not be read", &look.unreadable, "r");
    for root in &look.no_folders {
        let seen = format!("{} is a file where a folder of logs is looked for", root.display());
        let remedy = "nothing is read there; name the folder in `roots` of the agent instead";
        findings.push(Finding::new(ABOUT, Mark::Warning, seen, remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT, "all that was found can be read"));
    }
    findings
}

pub(super) fn links(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "links";
    let links = &look.survey.links;
    if links.is_empty() {
        return Vec::new();
    }
    let named = list(links, |link| link.display().to_string());
    let seen = format!("not followed, and nothing behind them is counted: {named}");
    let remedy = "to count it, name the folder that a link leads to in `roots` of the agent, in \
                  the configuration";
    vec![Finding::new(ABOUT, Mark::Warning, seen, remedy)]
}

pub(super) fn logs_filesystem(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "filesystem of logs";
    let finding = |(path, filesystem): &(PathBuf, Filesystem)| {
        let seconds = look.config.sweep_interval.as_secs();
        let (kind, what) = match filesystem {
            Filesystem::Remote(kind) => (*kind, "are not heard of"),
            _ => ("FUSE", "may not be heard of"),
        };
        Finding::new(
            ABOUT,
            Mark::Note,
            format!("{} ({kind}): changes there {what}", path.display()),
            format!("they are found by the sweep, every {seconds} s: `sweep_interval_s`"),
        )
    };
    look.remote_roots.iter().map(finding).collect()
}

pub(super) fn watches(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "watches";
    let Some(watches) = look.watches else { return Vec::new() };
    let Watches { most, used, most_instances, used_instances } = watches;
    let raise = |name: &str, to: u64| {
        let setting = format!("fs.inotify.{name}={to}");
        format!(
            "sudo sysctl {setting}\n\
             to make it stay: echo {setting} | sudo tee /etc/sysctl.d/60-tallyd.conf\n\
             until then changes are found by the sweep"
        )
    };
    let raise_watches = || raise("max_user_watches", 524_288.max(most.saturating_mul(2)));
    let raise_instances =
        || raise("max_user_instances", 1_024.max(most_instances.saturating_mul(2)));
    vec![if let Some((_, said)) = look.concern("watcher:folders") {
        let remedy = if said.contains("instances") { raise_instances() } else { raise_watches() };
        Finding::new(ABOUT, Mark::Warning, format!("of the running service: {said}"), remedy)
    } else if look.is_running() {
        let seen = format!("{} of {} in use", text::count(used), text::count(most));
        Finding::ok(ABOUT, seen)
    } else {
        let needed = (look.survey.folders + awaited_in(look).len()) as u64;
        let seen = format!(
            "{} folders to watch; {} of {} watches and {used_instances} of {most_instances} \
             instances in use",
            text::count(needed),
            text::count(used),
            text::count(most),
        );
        if used_instances >= most_instances {
            Finding::new(ABOUT, Mark::Warning, seen, raise_instances())
        } else if used.saturating_add(needed) > most {
            Finding::new(ABOUT, Mark::Warning, seen, raise_watches())
        } else {
            Finding::ok(ABOUT, seen)
        }
    }]
}

/// The folders in which roots that are not there would appear.
fn awaited_in(look: &Look) -> BTreeSet<PathBuf> {
    let roots = look.config.roots();
    let missing = roots.iter().filter(|root| root_state(root) != FOUND);
    let nearest = |path: &Path| path.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned);
    missing.filter_map(|root| nearest(&root.path)).collect()
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}
