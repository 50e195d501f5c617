//! The running service, and the programs it could be mistaken for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use providers::Env;

use super::files::quoted;
use super::look::Look;
use super::processes;
use super::{Finding, Mark};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a service is started anew, however it was started.
fn restart(look: &Look) -> String {
    let id = look.service.process.as_ref().map_or(0, |process| process.id);
    let managed = match cfg!(target_os = "macos") {
        true => "under launchd: launchctl kickstart -k gui/$(id -u)/dev.tallyd",
        false => "under systemd: systemctl --user restart tallyd",
    };
    format!("{managed}\nelse: kill {id}, then `tallyd run`")
}

pub(super) fn running(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "service";
    let service = &look.service;
    vec![match (&service.holder, &service.health) {
        (None, _) => {
            let remedy =
                "`tallyd service install` keeps it running; `tallyd run` is in this terminal";
            Finding::new(ABOUT, Mark::Note, "not running", remedy)
        }
        (Some(holder), Some((address, health))) => {
            let verdict = health["status"].as_str().unwrap_or("unknown");
            let seen = format!("{holder} is running on http://{address}, health {verdict}");
            Finding::ok(ABOUT, seen)
        }
        (Some(holder), None) if !look.is_running() => {
            Finding::new(ABOUT, Mark::Note, format!("not running; {holder} is"), "")
        }
        (Some(holder), None) => match &service.silence {
            Some(why) => {
                let seen = format!("{holder} is running, but {why}");
                Finding::new(ABOUT, Mark::Problem, seen, "it counts all the same; see `port`")
            }
            None => {
                let seen = format!("{holder} is running, but does not answer (yet)");
                Finding::new(ABOUT, Mark::Problem, seen, restart(look))
            }
        },
    }]
}

pub(super) fn port(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "port";
    let listen = look.config.listen;
    let who = match &look.service.stranger {
        None if look.service.health.as_ref().is_some_and(|(address, _)| *address == listen) => {
            return vec![Finding::ok(ABOUT, format!("{listen} is this service's"))];
        }
        None => return vec![Finding::ok(ABOUT, format!("{listen} is free"))],
        Some(Some(health)) => {
            format!("the tallyd of {}", health["serviceId"].as_str().unwrap_or_default())
        }
        Some(None) => processes::listener(listen)
            .map_or_else(|| "another user's program".to_owned(), |process| process.name()),
    };
    // A service that answers elsewhere was told to.
    let mark = if look.service.health.is_some() { Mark::Note } else { Mark::Problem };
    let other = if listen.port() == 8_475 { 8_476 } else { 8_475 };
    let other = std::net::SocketAddr::new(listen.ip(), other);
    let remedy = format!(
        "end that program, or give tallyd another port: `tallyd run --listen {other}`, or\n\
         listen = \"{other}\" in {}",
        look.config.file.display()
    );
    vec![Finding::new(ABOUT, mark, format!("{listen} is taken by {who}"), remedy)]
}

pub(super) fn binary(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "program";
    let service = &look.service;
    let Some(process) = &service.process else { return Vec::new() };
    let program = process.program();
    let is_gone =
        program.as_ref().is_some_and(|path| path.to_string_lossy().ends_with(" (deleted)"));
    let version = service.health.as_ref().and_then(|(_, health)| health["version"].as_str());
    vec![match version {
        Some(version) if version != VERSION => Finding::new(
            ABOUT,
            Mark::Warning,
            format!("the running service is version {version}, this program is {VERSION}"),
            restart(look),
        ),
        _ if is_gone => Finding::new(
            ABOUT,
            Mark::Warning,
            "the running service's program was replaced or removed since it was started",
            restart(look),
        ),
        Some(_) => {
            Finding::ok(ABOUT, format!("the running service and this are version {VERSION}"))
        }
        None => return Vec::new(),
    }]
}

/// Where agents' logs are looked for in an environment.
fn roots(vars: &BTreeMap<String, String>, fallback: &Env) -> Vec<PathBuf> {
    let home = vars.get("HOME").map_or_else(|| fallback.home.clone(), PathBuf::from);
    let env = Env { home, vars: vars.clone() };
    providers::ALL.iter().flat_map(|provider| provider.roots(&env)).collect()
}

/// Variables that decide where logs are looked for, and are others in the running service: no list
/// of them is needed to know.
pub(super) fn environment(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "environment";
    let there = look.service.process.as_ref().and_then(|process| process.environment());
    let Some(there) = there else { return Vec::new() };
    let differences = differences(&look.config.env, &there);
    if differences.is_empty() {
        return vec![Finding::ok(ABOUT, "the service looks for logs where this shell would")];
    }
    let finding = |(name, here, there): &Difference| {
        let say = |value: &Option<String>| match value {
            Some(value) => format!("is {value}"),
            None => "is not set".to_owned(),
        };
        let (here_is, there_is) = (say(here), say(there));
        let seen = format!("{name} {here_is} here, and {there_is} in the running service");
        let remedy = "it looks for logs elsewhere than this shell would; if this shell is right,\n\
                      tallyd service install, in it, records that and starts the service anew";
        Finding::new(ABOUT, Mark::Warning, seen, remedy)
    };
    differences.iter().map(finding).collect()
}

/// Name, value here, value there.
type Difference = (String, Option<String>, Option<String>);

fn differences(here: &Env, there: &BTreeMap<String, String>) -> Vec<Difference> {
    let as_here = roots(&here.vars, here);
    let names: BTreeSet<&String> = here.vars.keys().chain(there.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (mine, its) = (here.vars.get(name), there.get(name));
        if mine == its {
            continue;
        }
        let mut vars = here.vars.clone();
        match its {
            Some(its) => _ = vars.insert(name.clone(), its.clone()),
            None => _ = vars.remove(name),
        }
        if roots(&vars, here) != as_here {
            found.push((name.clone(), mine.cloned(), its.cloned()));
        }
    }
    found
}

pub(super) fn installations(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "installations";
    if look.installations.is_empty() {
        return vec![Finding::ok(ABOUT, "no other tallyd on the path")];
    }
    let finding = |(path, version): &(PathBuf, String)| {
        let seen = format!("{} is version {version}, this is {VERSION}", path.display());
        let is_same = version == VERSION;
        let mark = if is_same { Mark::Note } else { Mark::Warning };
        let remedy = format!("keep one of them: rm {}, or put its folder later", quoted(path));
        Finding::new(ABOUT, mark, seen, remedy)
    };
    look.installations.iter().map(finding).collect()
}

/// Checks of the service's own health that other findings here tell more of.
const TOLD: [&str; 7] = [
    "budgets:used",
    "database:disk",
    "database:wal",
    "sources:degraded",
    "sources:denied",
    "sources:failing",
    "watcher:folders",
];

pub(super) fn health(look: &Look) -> Vec<Finding> {
    const ABOUT: &str = "health";
    let Some((_, health)) = &look.service.health else { return Vec::new() };
    let checks = health["checks"].as_object();
    let names = checks.into_iter().flatten().map(|(name, _)| name.as_str());
    let concerns = names.filter(|name| !TOLD.contains(name)).filter_map(|name| {
        let (verdict, said) = look.concern(name)?;
        let mark = if verdict == "fail" { Mark::Problem } else { Mark::Warning };
        let remedy = "its log says more: `journalctl --user -u tallyd`, or where it was started";
        Some(Finding::new(ABOUT, mark, format!("{name}: {said}"), remedy))
    });
    let mut findings: Vec<_> = concerns.collect();
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT, "nothing else that the service warns of"));
    }
    findings
}
