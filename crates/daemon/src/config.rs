//! Effective settings and where each came from: flag, environment, file, default.
//!
//! The only reader of the environment and of configuration files. Every setting is one entry of
//! [`KEYS`]; `config/default.toml` shows them all, which a test holds it to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use providers::Env;
use toml::{Table, Value};
use usage::pricing::{PriceBook, PriceRow, PriceRows};

use crate::budgets::Budget;

/// The settings of one run.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) env: Env,
    /// The file that was asked for or found; it may not exist.
    pub(crate) file: PathBuf,
    pub(crate) file_exists: bool,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) log: String,
    pub(crate) time_zone: Option<String>,
    /// The system's zone by its name, if it has one.
    pub(crate) system_time_zone: Option<String>,
    pub(crate) debounce: Duration,
    pub(crate) sweep_interval: Duration,
    pub(crate) max_line: usize,
    pub(crate) providers: BTreeMap<&'static str, ProviderConfig>,
    pub(crate) prices: PriceBook,
    pub(crate) budgets: Vec<Budget>,
    /// Each setting as text, with its origin, in the order of [`KEYS`].
    pub(crate) shown: Vec<Shown>,
}

#[derive(Clone, Debug)]
pub(crate) struct ProviderConfig {
    pub(crate) enabled: bool,
    pub(crate) roots: Vec<PathBuf>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// A configuration that cannot be used: which file, which key, why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("{place}: unknown key `{key}`\nhint: {hint}")]
    UnknownKey { place: String, key: String, hint: String },
    #[error("{place}: `{key}` {reason}")]
    BadValue { place: String, key: String, reason: String },
    #[error("{path}: prices: {reason}")]
    Prices { path: PathBuf, reason: String },
    #[error("HOME is {}\nhint: set HOME to your home folder: agents' logs are looked for below it", .0.as_deref().map_or_else(|| "not set".to_owned(), |home| format!("`{home}`, which is no folder")))]
    NoHome(Option<String>),
}

/// Settings that flags carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    /// No agent's logs are looked for.
    pub(crate) only_database: bool,
}

/// One setting: its key in the file, its variable, its default as text.
struct Key {
    name: &'static str,
    kind: Kind,
    variable: Option<&'static str>,
    default: &'static str,
}

/// What a setting is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
}

const KEYS: [Key; 7] = [
    Key { name: "data_dir", kind: Kind::Text, variable: Some("TALLYD_DATA_DIR"), default: "" },
    Key { name: "debounce_ms", kind: Kind::Whole, variable: None, default: "100" },
    Key {
        name: "listen",
        kind: Kind::Text,
        variable: Some("TALLYD_LISTEN"),
        default: "127.0.0.1:8474",
    },
    Key { name: "log", kind: Kind::Text, variable: Some("TALLYD_LOG"), default: "info" },
    Key { name: "max_line_mib", kind: Kind::Whole, variable: None, default: "64" },
    Key { name: "sweep_interval_s", kind: Kind::Whole, variable: None, default: "30" },
    Key { name: "time_zone", kind: Kind::Text, variable: None, default: "" },
];

/// Names the configuration file.
const CONFIG: &str = "TALLYD_CONFIG";

/// Tables of the file beside the plain keys.
const TABLES: [&str; 3] = ["budgets", "prices", "providers"];
const PROVIDER_KEYS: [&str; 2] = ["enabled", "roots"];

/// Where there is nothing: the home of who has none.
const NOWHERE: &str = "/nonexistent";

/// The home folder. What needs the database alone, and is told where that is, does without one.
fn home(vars: &BTreeMap<String, String>, flags: &Flags) -> Result<PathBuf, ConfigError> {
    let named = vars.get("HOME").filter(|home| !home.is_empty()).cloned();
    let usable = named.as_deref().map(Path::new).filter(|home| home.is_absolute() && home.is_dir());
    match usable {
        Some(home) => Ok(home.to_owned()),
        None if flags.only_database && flags.data_dir.is_some() => Ok(NOWHERE.into()),
        None => Err(ConfigError::NoHome(named)),
    }
}

/// The environment the process was started with.
#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Config {
    pub(crate) fn load(vars: BTreeMap<String, String>, flags: &Flags) -> Result<Self, ConfigError> {
        let env = Env { home: home(&vars, flags)?, vars };
        let must_exist = flags.config.is_some() || env.var(CONFIG).is_some();
        let file = flags.config.clone().unwrap_or_else(|| file_of(&env));
        let table = read_table(&file, must_exist)?;
        let layers = Layers { env: &env, flags, file: &file, table: table.as_ref() };
        layers.check_keys()?;
        let mut shown = Vec::new();
        let data_dir = layers.data_dir(&mut shown)?;
        if let Some(last) = shown.last_mut() {
            last.value = data_dir.display().to_string();
        }
        let debounce = layers.whole("debounce_ms", 0..=60_000, &mut shown)?;
        let listen = layers.listen(&mut shown)?;
        let log = layers.log(&mut shown)?;
        let max_line = layers.whole("max_line_mib", 1..=1_024, &mut shown)?;
        let sweep = layers.whole("sweep_interval_s", 1..=86_400, &mut shown)?;
        let system = jiff::tz::TimeZone::system();
        let system_time_zone = system.iana_name().map(str::to_owned);
        let time_zone = layers.time_zone(system_time_zone.as_deref(), &mut shown)?;
        let providers = layers.providers(&mut shown)?;
        let prices = layers.prices(&mut shown)?;
        let budgets = layers.budgets(&mut shown)?;
        Ok(Self {
            file_exists: table.is_some(),
            file: file.clone(),
            data_dir,
            listen,
            log,
            time_zone,
            system_time_zone,
            debounce: Duration::from_millis(debounce),
            sweep_interval: Duration::from_secs(sweep),
            max_line: usize::try_from(max_line).unwrap_or(64) << 20,
            providers,
            prices,
            budgets,
            shown,
            env,
        })
    }

    pub(crate) fn is_switched_off(&self, provider: &str) -> bool {
        self.providers.get(provider).is_some_and(|configured| !configured.enabled)
    }

    /// The agents that are not to be read.
    pub(crate) fn switched_off(&self) -> Vec<&'static str> {
        let all = providers::ALL.iter().map(|provider| provider.id());
        all.filter(|id| self.is_switched_off(id)).collect()
    }

    /// The roots of all providers that are switched on, default roots first.
    pub(crate) fn roots(&self) -> Vec<ingest::Root> {
        let mut roots: Vec<ingest::Root> = Vec::new();
        for &provider in providers::ALL {
            if self.is_switched_off(provider.id()) {
                continue;
            }
            let configured = self.providers.get(provider.id());
            let more = configured.map(|c| c.roots.clone()).unwrap_or_default();
            for path in provider.roots(&self.env).into_iter().chain(more) {
                // Two spellings of one folder are one root.
                let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                let known = roots.iter().any(|root| {
                    root.provider.id() == provider.id()
                        && fs::canonicalize(&root.path).unwrap_or_else(|_| root.path.clone())
                            == real
                });
                if !known {
                    roots.push(ingest::Root { provider, path });
                }
            }
        }
        roots
    }
}

/// Where a setting's value may come from.
struct Layers<'a> {
    env: &'a Env,
    flags: &'a Flags,
    file: &'a Path,
    table: Option<&'a Table>,
}

/// A value with the place it was written at, for error messages.
struct Placed {
    value: String,
    place: String,
}

impl Layers<'_> {
    fn check_keys(&self) -> Result<(), ConfigError> {
        let Some(table) = self.table else { return Ok(()) };
        let known: Vec<&str> = KEYS.iter().map(|k| k.name).chain(TABLES).collect();
        for key in table.keys() {
            check_key(&self.file_place(), "", key, &known)?;
        }
        Ok(())
    }

    fn file_place(&self) -> String {
        self.file.display().to_string()
    }

    /// The text of a setting from the strongest layer that has it.
    fn text(
        &self,
        name: &str,
        default: &Path,
        shown: &mut Vec<Shown>,
    ) -> Result<Placed, ConfigError> {
        let key = KEYS.iter().find(|k| k.name == name);
        let flag = match name {
            "data_dir" => self.flags.data_dir.as_ref().map(|p| p.display().to_string()),
            "listen" => self.flags.listen.clone(),
            _ => None,
        };
        let variable = key.and_then(|k| k.variable);
        let from_env = variable.and_then(|v| self.env.var(v)).map(str::to_owned);
        let from_file = self.table.and_then(|t| t.get(name));
        let (value, origin, place) = match (flag, from_env, from_file) {
            (Some(value), _, _) => (value, Origin::Flag, format!("--{}", name.replace('_', "-"))),
            (None, Some(value), _) => {
                (value, Origin::Environment, format!("${}", variable.unwrap_or_default()))
            }
            (None, None, Some(value)) => {
                let place = self.file_place();
                let value = match (value, key.map(|k| k.kind)) {
                    (Value::String(text), Some(Kind::Text)) => text.clone(),
                    (Value::Integer(n), Some(Kind::Whole)) => n.to_string(),
                    (other, kind) => {
                        let wanted =
                            if kind == Some(Kind::Whole) { "a whole number" } else { "text" };
                        let reason = format!("must be {wanted}, not `{other}`");
                        return Err(ConfigError::BadValue { place, key: name.into(), reason });
                    }
                };
                (value, Origin::File, place)
            }
            (None, None, None) => {
                (default.display().to_string(), Origin::Default, "default".to_owned())
            }
        };
        shown.push(Shown { key: name.into(), value: value.clone(), origin });
        Ok(Placed { value, place })
    }

    fn default_of(name: &str) -> &'static Path {
        Path::new(KEYS.iter().find(|k| k.name == name).map_or("", |k| k.default))
    }

    fn whole(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
        shown: &mut Vec<Shown>,
    ) -> Result<u64, ConfigError> {
        let placed = self.text(name, Self::default_of(name), shown)?;
        placed.value.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            ConfigError::BadValue {
                place: placed.place,
                key: name.into(),
                reason: format!(
                    "must be a whole number from {} to {}, not `{}`",
                    range.start(),
                    range.end(),
                    placed.value
                ),
            }
        })
    }

    fn data_dir(&self, shown: &mut Vec<Shown>) -> Result<PathBuf, ConfigError> {
        let placed = self.text("data_dir", &data_home(self.env).join("tallyd"), shown)?;
        if self.flags.data_dir.is_some() {
            // On the command line a path may well be one below the current folder.
            if let Ok(path) = std::path::absolute(&placed.value) {
                return Ok(path);
            }
        }
        self.path(&placed.place, "data_dir", &placed.value)
    }

    fn path(&self, place: &str, name: &str, value: &str) -> Result<PathBuf, ConfigError> {
        let path = match value.strip_prefix("~/") {
            Some(below) => self.env.home.join(below),
            None => PathBuf::from(value),
        };
        if path.is_absolute() {
            return Ok(path);
        }
        Err(ConfigError::BadValue {
            place: place.to_owned(),
            key: name.into(),
            reason: format!("must be an absolute path or begin with ~/, not `{value}`"),
        })
    }

    /// A level, or levels by module: `info`, `warn,ingest=debug`.
    fn log(&self, shown: &mut Vec<Shown>) -> Result<String, ConfigError> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let placed = self.text("log", Self::default_of("log"), shown)?;
        let is_good = |part: &str| {
            let level = part.split_once('=').map_or(part, |(_, level)| level).trim();
            LEVELS.contains(&level.to_ascii_lowercase().as_str())
        };
        let filter = tracing_subscriber::EnvFilter::try_new(&placed.value);
        if placed.value.split(',').all(is_good) && filter.is_ok() {
            return Ok(placed.value);
        }
        let levels = LEVELS.join(", ");
        Err(ConfigError::BadValue {
            place: placed.place,
            key: "log".into(),
            reason: format!(
                "must be one of {levels}, or these by module (`warn,ingest=debug`), not `{}`",
                placed.value
            ),
        })
    }

    fn listen(&self, shown: &mut Vec<Shown>) -> Result<SocketAddr, ConfigError> {
        let placed = self.text("listen", Self::default_of("listen"), shown)?;
        let bad = |reason: String| ConfigError::BadValue {
            place: placed.place.clone(),
            key: "listen".into(),
            reason,
        };
        let address: SocketAddr = placed.value.parse().map_err(|_| {
            bad(format!(
                "must be an address and a port like 127.0.0.1:8474, not `{}`",
                placed.value
            ))
        })?;
        if address.ip().is_loopback() {
            Ok(address)
        } else {
            Err(bad(format!(
                "must be a loopback address, not `{address}`: the figures are private"
            )))
        }
    }

    /// An empty one is the system's, at the first start.
    fn time_zone(
        &self,
        system: Option<&str>,
        shown: &mut Vec<Shown>,
    ) -> Result<Option<String>, ConfigError> {
        let placed = self.text("time_zone", Self::default_of("time_zone"), shown)?;
        if placed.value.is_empty() {
            if let Some(last) = shown.last_mut() {
                last.value = match system {
                    Some(name) => format!("the system's, {name}"),
                    None => "UTC, as the system's has no name".to_owned(),
                };
            }
            return Ok(None);
        }
        if jiff::tz::TimeZone::get(&placed.value).is_err() {
            return Err(ConfigError::BadValue {
                place: placed.place,
                key: "time_zone".into(),
                reason: format!("must be a name like Europe/Berlin, not `{}`", placed.value),
            });
        }
        Ok(Some(placed.value))
    }

    fn providers(
        &self,
        shown: &mut Vec<Shown>,
    ) -> Result<BTreeMap<&'static str, ProviderConfig>, ConfigError> {
        let mut all = BTreeMap::new();
        let Some(value) = self.table.and_then(|t| t.get("providers")) else { return Ok(all) };
        let place = self.file_place();
        let bad = |key: String, reason: &str| ConfigError::BadValue {
            place: place.clone(),
            key,
            reason: reason.to_owned(),
        };
        let table = value.as_table().ok_or_else(|| bad("providers".into(), "must be a table"))?;
        let known: Vec<&str> = providers::ALL.iter().map(|p| p.id()).collect();
        for (id, value) in table {
            check_key(&place, "providers.", id, &known)?;
            let Some(provider) = providers::ALL.iter().find(|p| p.id() == id) else { continue };
            let prefix = format!("providers.{id}.");
            let table = value
                .as_table()
                .ok_or_else(|| bad(format!("providers.{id}"), "must be a table"))?;
            let mut config = ProviderConfig { enabled: true, roots: Vec::new() };
            for (key, value) in table {
                check_key(&place, &prefix, key, &PROVIDER_KEYS)?;
                let name = format!("{prefix}{key}");
                shown.push(Shown {
                    key: name.clone(),
                    value: value.to_string(),
                    origin: Origin::File,
                });
                if key == "enabled" {
                    config.enabled =
                        value.as_bool().ok_or_else(|| bad(name, "must be true or false"))?;
                } else {
                    let wrong = "must be a list of folders";
                    let list = value.as_array().ok_or_else(|| bad(name.clone(), wrong))?;
                    for root in list {
                        let root = root.as_str().ok_or_else(|| bad(name.clone(), wrong))?;
                        config.roots.push(self.path(&place, &name, root)?);
                    }
                }
            }
            all.insert(provider.id(), config);
        }
        Ok(all)
    }
}

impl Layers<'_> {
    /// The built-in price book under the user's own rows.
    fn prices(&self, shown: &mut Vec<Shown>) -> Result<PriceBook, ConfigError> {
        let mut book = PriceBook::builtin();
        let bad = |reason: String| ConfigError::Prices { path: self.file.to_owned(), reason };
        if let Some(value) = self.table.and_then(|t| t.get("prices")) {
            let rows: PriceRows =
                value.clone().try_into().map_err(|e: toml::de::Error| bad(e.to_string()))?;
            book.overlay(&rows).map_err(|e| bad(e.to_string()))?;
            let models = rows.values().flatten().map(PriceRow::model).collect::<BTreeSet<_>>();
            let models: Vec<_> = models.into_iter().collect();
            shown.push(Shown {
                key: "prices".into(),
                value: format!("own, of {}", models.join(", ")),
                origin: Origin::File,
            });
        }
        Ok(book)
    }

    fn budgets(&self, shown: &mut Vec<Shown>) -> Result<Vec<Budget>, ConfigError> {
        let Some(value) = self.table.and_then(|t| t.get("budgets")) else { return Ok(Vec::new()) };
        let budgets = crate::budgets::parse(value, &self.env.home, &self.file_place())?;
        for budget in &budgets {
            let (name, usd) = (budget.name(), crate::text::money(budget.nanousd));
            shown.push(Shown {
                key: "budgets".into(),
                value: format!("{usd} ({name})"),
                origin: Origin::File,
            });
        }
        Ok(budgets)
    }
}

pub(crate) fn check_key(
    place: &str,
    prefix: &str,
    key: &str,
    known: &[&str],
) -> Result<(), ConfigError> {
    if known.contains(&key) {
        return Ok(());
    }
    let nearest = known
        .iter()
        .map(|name| (distance(key, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 2)
        .min();
    let hint = match nearest {
        Some((_, name)) => format!("did you mean `{prefix}{name}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    Err(ConfigError::UnknownKey { place: place.into(), key: format!("{prefix}{key}"), hint })
}

/// Edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let swap = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = swap.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn read_table(path: &Path, must_exist: bool) -> Result<Option<Table>, ConfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(source) => return Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    };
    text.parse().map(Some).map_err(|e: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

/// What the environment decides about settings, whatever the file says.
#[derive(PartialEq, Eq)]
pub(crate) struct Footing {
    pub(crate) file: PathBuf,
    data_home: PathBuf,
    settings: Vec<Option<String>>,
    /// The system's zone is told by it, too.
    zone: Option<String>,
}

impl Footing {
    pub(crate) fn of(env: &Env) -> Self {
        let variable = |name| env.var(name).map(str::to_owned);
        Self {
            file: file_of(env),
            data_home: data_home(env),
            settings: KEYS.iter().map(|key| key.variable.and_then(variable)).collect(),
            zone: variable("TZ"),
        }
    }
}

fn file_of(env: &Env) -> PathBuf {
    let named = env.var(CONFIG).map(PathBuf::from);
    named.unwrap_or_else(|| config_home(env).join("tallyd/config.toml"))
}

/// Where configuration files live.
pub(crate) fn config_home(env: &Env) -> PathBuf {
    if cfg!(target_os = "macos") {
        return env.home.join("Library/Application Support");
    }
    absolute_var(env, "XDG_CONFIG_HOME").unwrap_or_else(|| env.home.join(".config"))
}

fn data_home(env: &Env) -> PathBuf {
    absolute_var(env, "XDG_DATA_HOME").unwrap_or_else(|| env.home.join(".local/share"))
}

/// The XDG rules: a relative value is invalid and ignored.
fn absolute_var(env: &Env, name: &str) -> Option<PathBuf> {
    env.var(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
