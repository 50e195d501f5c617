//! The facts that checks judge, gathered once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ingest::Survey;
use rustix::fs::Access;
use serde_json::Value;
use store::{DataDir, Filesystem, ReadError, Reader};

use super::processes::{self, Process, Watches};
use crate::clock::now_ms;
use crate::commands::status;
use crate::config::{Config, ConfigError, Flags};

pub(super) struct Look {
    /// Why the configuration cannot be used; then `config` is what there would be without it.
    pub(super) complaint: Option<String>,
    pub(super) config: Config,
    pub(super) home: Home,
    /// Its version, or what is wrong with it.
    pub(super) sqlite: Result<String, String>,
    pub(super) now_ms: i64,
    pub(super) data_dir: DataDirFacts,
    pub(super) survey: Survey,
    /// Logs that may not be read.
    pub(super) unreadable: Vec<PathBuf>,
    /// Roots that are files and no sources.
    pub(super) no_folders: Vec<PathBuf>,
    /// Roots on another filesystem than a local one.
    pub(super) remote_roots: Vec<(PathBuf, Filesystem)>,
    pub(super) watches: Option<Watches>,
    pub(super) service: Service,
    /// Other programs of our name that a shell would find, with what they say their version is.
    pub(super) installations: Vec<(PathBuf, String)>,
    pub(super) database: Result<Reader, ReadError>,
    /// Nothing but a damaged page makes it fail.
    pub(super) soundness: Result<(), ReadError>,
    pub(super) wal_bytes: u64,
}

pub(super) struct Home {
    pub(super) said: Option<String>,
    pub(super) on_record: Option<PathBuf>,
    pub(super) uid: u32,
    pub(super) owner: Option<u32>,
}

pub(super) struct DataDirFacts {
    pub(super) exists: bool,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) is_writable: bool,
    pub(super) is_read_only: bool,
    /// Of the nearest folder that is there.
    pub(super) filesystem: Filesystem,
    pub(super) disk_free: Option<u64>,
}

/// Whoever holds the data directory, and who has the port.
pub(super) struct Service {
    pub(super) holder: Option<String>,
    pub(super) process: Option<Process>,
    pub(super) health: Option<(SocketAddr, Value)>,
    /// Why it does not listen, in its own words.
    pub(super) silence: Option<String>,
    /// What has the configured port that is not this service: its health if it is another tallyd.
    pub(super) stranger: Option<Option<Value>>,
}

impl Look {
    pub(super) fn gather(
        vars: BTreeMap<String, String>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let home = Home::of(&vars);
        let (config, complaint) = configuration(vars, flags, &home)?;
        let service = Service::of(&config);
        let database = Reader::open(&config.data_dir);
        let soundness = database.as_ref().map_or(Ok(()), Reader::quick_check);
        let roots = config.roots();
        let survey = ingest::survey(&roots);
        let may_read = |path: &Path| rustix::fs::access(path, Access::READ_OK).is_ok();
        let logs = survey.sources.iter().map(|(_, path)| path);
        let remote = roots.iter().filter_map(|root| {
            let filesystem = store::filesystem(&root.path).ok()?;
            (filesystem != Filesystem::Local).then(|| (root.path.clone(), filesystem))
        });
        let is_file = |root: &&ingest::Root| {
            root.path.is_file() && !root.provider.is_source(&root.path, &root.path)
        };
        let no_folders = roots.iter().filter(is_file).map(|root| root.path.clone());
        let wal = config.data_dir.join("tallyd.db-wal");
        Ok(Self {
            complaint,
            home,
            sqlite: store::sqlite_version().map(str::to_owned).map_err(|error| error.to_string()),
            now_ms: now_ms(),
            data_dir: DataDirFacts::of(&config.data_dir),
            unreadable: logs.filter(|path| !may_read(path)).cloned().collect(),
            no_folders: no_folders.collect(),
            remote_roots: remote.collect(),
            survey,
            watches: processes::watches(),
            service,
            installations: installations(&config),
            database,
            soundness,
            wal_bytes: fs::metadata(wal).map_or(0, |file| file.len()),
            config,
        })
    }

    /// The database file, for messages.
    pub(super) fn database_path(&self) -> PathBuf {
        self.config.data_dir.join("tallyd.db")
    }

    /// Whether `tallyd run` has the data directory; other commands may have it for a while.
    pub(super) fn is_running(&self) -> bool {
        self.service.process.is_some()
    }

    /// A check of the running service's health that does not pass: its verdict and what it says.
    pub(super) fn concern(&self, name: &str) -> Option<(&str, &str)> {
        let (_, health) = self.service.health.as_ref()?;
        let results = health["checks"][name].as_array()?;
        let result = results.iter().find(|result| result["status"] != "pass")?;
        Some((result["status"].as_str()?, result["output"].as_str().unwrap_or("no reason given")))
    }
}

/// The configuration, or what is left of it without what is wrong, and what that is.
fn configuration(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    home: &Home,
) -> Result<(Config, Option<String>), ConfigError> {
    let complaint = match Config::load(vars.clone(), flags) {
        Ok(config) => return Ok((config, None)),
        Err(error) => error.to_string(),
    };
    let mut vars = vars;
    if !home.is_usable() {
        // The folder is told of apart from the configuration.
        let other = home.on_record.as_ref().filter(|home| home.is_dir());
        let other = other.map_or_else(|| "/".to_owned(), |home| home.display().to_string());
        vars.insert("HOME".to_owned(), other);
        if let Ok(config) = Config::load(vars.clone(), flags) {
            return Ok((config, None));
        }
    }
    let none = Flags { config: Some("/dev/null".into()), ..flags.clone() };
    if let Ok(config) = Config::load(vars.clone(), &none) {
        return Ok((config, Some(complaint)));
    }
    vars.retain(|name, _| !name.starts_with("TALLYD_"));
    let bare = Flags { config: none.config, ..Flags::default() };
    Ok((Config::load(vars, &bare)?, Some(complaint)))
}

impl Home {
    fn of(vars: &BTreeMap<String, String>) -> Self {
        let said = vars.get("HOME").filter(|home| !home.is_empty()).cloned();
        Self {
            on_record: processes::home_on_record(),
            uid: rustix::process::geteuid().as_raw(),
            owner: said.as_ref().and_then(|home| Some(fs::metadata(home).ok()?.uid())),
            said,
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.said.as_ref().is_some_and(|home| {
            let home = Path::new(home);
            home.is_absolute() && home.is_dir()
        })
    }
}

impl DataDirFacts {
    fn of(path: &Path) -> Self {
        let folder = fs::metadata(path).ok();
        let nearest = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
        let access = rustix::fs::access(nearest, Access::WRITE_OK | Access::EXEC_OK);
        Self {
            exists: folder.is_some(),
            mode: folder.as_ref().map_or(0, |folder| folder.permissions().mode() & 0o777),
            owner: folder.map_or(0, |folder| folder.uid()),
            is_writable: access.is_ok(),
            is_read_only: access == Err(rustix::io::Errno::ROFS),
            filesystem: store::filesystem(nearest).unwrap_or(Filesystem::Local),
            disk_free: store::disk_free(nearest),
        }
    }
}

impl Service {
    fn of(config: &Config) -> Self {
        let holder = DataDir::holder(&config.data_dir);
        let health = holder.is_some().then(|| status::ask(config)).flatten();
        let process = holder.as_deref().and_then(|holder| {
            let id = holder.strip_prefix("tallyd run (process ")?.strip_suffix(')')?;
            Some(Process::of(id.parse().ok()?))
        });
        let is_ours = health.as_ref().is_some_and(|(address, _)| *address == config.listen);
        Self {
            silence: holder.is_some().then(|| status::silence(config)).flatten(),
            stranger: if is_ours { None } else { status::listener(config.listen) },
            holder,
            process,
            health,
        }
    }
}

/// Programs named tallyd on the path, other than this one.
fn installations(config: &Config) -> Vec<(PathBuf, String)> {
    let this = std::env::current_exe().and_then(fs::canonicalize).ok();
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    let mut seen = Vec::new();
    for folder in config.env.var("PATH").unwrap_or_default().split(':') {
        let path = Path::new(folder).join("tallyd");
        let Ok(real) = fs::canonicalize(&path) else { continue };
        let is_new = Some(&real) != this.as_ref() && !seen.contains(&real);
        if is_new
            && path.is_absolute()
            && rustix::fs::access(&real, Access::EXEC_OK).is_ok()
            && real.is_file()
        {
            found.push((path, version_of(&real).unwrap_or_else(|| "unknown".to_owned())));
            seen.push(real);
        }
    }
    found
}

/// What a program answers to `--version`, if it does so in a moment.
fn version_of(program: &Path) -> Option<String> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut command = Command::new(program);
    command.arg("--version").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
    let started = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if started.elapsed() > PATIENCE {
            // It is our child: nobody else waits for it.
            _ = child.kill();
            _ = child.wait();
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let mut said = String::new();
    child.stdout?.take(1 << 10).read_to_string(&mut said).ok()?;
    Some(said.trim().strip_prefix("tallyd ")?.to_owned())
}
