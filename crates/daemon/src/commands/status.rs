//! `tallyd status`: is it running, how fresh is it, what was found. Works with and without a service.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use store::{DataDir, Figures, ProviderTotals, ProviderUsage, ReadError, Reader};

use super::providers::{found_table, root_json, totals_json};
use crate::cli::Json;
use crate::clock::now_ms;
use crate::config::Config;
use crate::output;
use crate::run::address_file;
use crate::table::{Align, table};
use crate::text;

/// How long a service may take to answer for its health: it does so at once, when it gets its turn. On
/// two cores that eight programs want for themselves that was seen to take more than half a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// And how much it may say.
const MOST: u64 = 8 << 20;

struct Status {
    /// The service, or the command that writes, which holds the data directory.
    holder: Option<String>,
    /// The service's own account, if it answers.
    health: Option<(SocketAddr, Value)>,
    /// Why the service does not listen, in its own words.
    silence: Option<String>,
    stored: Option<Stored>,
}

/// What the database says, whoever is running.
struct Stored {
    providers: Vec<ProviderTotals>,
    seq: i64,
    time_zone: String,
    /// Positions that the slowest mart is behind.
    lag: i64,
    failing: Vec<(std::path::PathBuf, String)>,
    missing: usize,
    unpriced: Vec<(String, i64)>,
}

/// What a service says of itself: the first lines of `tallyd status`.
pub(super) struct Verdict {
    pub(super) json: Value,
    pub(super) text: String,
}

impl Verdict {
    /// Whether it said where it listens, or why it does not.
    pub(super) fn is_known(&self) -> bool {
        !self.json["address"].is_null() || !self.json["silence"].is_null()
    }
}

pub(super) fn verdict(config: &Config) -> Verdict {
    let status = Status::of_service(config);
    let json = json!({
        "address": status.health.as_ref().map(|(address, _)| address.to_string()),
        "silence": status.silence,
        "health": status.health.as_ref().map(|(_, health)| health),
        "data_dir": config.data_dir,
    });
    Verdict { json, text: status.service_text() }
}

pub(super) fn run(config: &Config, json: Json) -> anyhow::Result<ExitCode> {
    let status = Status { stored: stored(config)?, ..Status::of_service(config) };
    if json.json {
        output::print_json(&status.as_json(config))?;
    } else {
        output::print(&status.as_text(config))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn stored(config: &Config) -> Result<Option<Stored>, ReadError> {
    let reader = match Reader::open(&config.data_dir) {
        Ok(reader) => reader,
        Err(ReadError::Missing { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let seq = reader.seq()?;
    let behind = reader.watermarks()?.iter().map(|w| seq - w.last_event_id).max();
    let checkpoints = reader.checkpoints()?;
    let missing = checkpoints.iter().filter(|c| c.missing_since_ms.is_some()).count();
    let failing =
        checkpoints.into_iter().filter_map(|c| Some((c.path, c.last_error?))).take(10).collect();
    Ok(Some(Stored {
        providers: reader.providers(now_ms())?,
        seq,
        time_zone: reader.time_zone()?,
        lag: behind.unwrap_or(0),
        failing,
        missing,
        unpriced: reader.unpriced_models()?,
    }))
}

/// Asks the service that left its address in the data directory. `None` when it does not answer:
/// it may have been killed.
pub(super) fn ask(config: &Config) -> Option<(SocketAddr, Value)> {
    let (address, health) = get(config, "/health")?;
    // Another program, or a service on another data directory, may have the port by now.
    let is_ours = health["serviceId"].as_str() == config.data_dir.to_str();
    is_ours.then_some((address, health))
}

/// What the running service has not read yet, in its own words; `None` once it is ready.
pub(super) fn still_reading(config: &Config) -> Option<String> {
    let (_, ready) = get(config, "/readyz")?;
    Some(ready["output"].as_str()?.to_owned())
}

fn get(config: &Config, path: &str) -> Option<(SocketAddr, Value)> {
    let address: SocketAddr =
        fs::read_to_string(address_file(&config.data_dir)).ok()?.trim().parse().ok()?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    Some((address, get_over(stream, address, path)?))
}

/// What listens at an address: `None` where nothing does, else its health if it is a tallyd.
pub(super) fn listener(address: SocketAddr) -> Option<Option<Value>> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    let health = get_over(stream, address, "/health");
    Some(health.filter(|health| health["serviceId"].is_string()))
}

fn get_over(mut stream: TcpStream, address: SocketAddr, path: &str) -> Option<Value> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // Whoever it is may send what it likes, and go on sending.
    stream.take(MOST).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// What stands where the address of a service would, if it could listen.
pub(super) fn silence(config: &Config) -> Option<String> {
    let left = fs::read_to_string(address_file(&config.data_dir)).ok()?;
    left.parse::<SocketAddr>().is_err().then_some(left)
}

impl Status {
    /// Without what is stored.
    fn of_service(config: &Config) -> Self {
        let holder = DataDir::holder(&config.data_dir);
        // What a killed service left behind is nobody's address, or a stranger's by now.
        let is_held = holder.is_some();
        Self {
            holder,
            health: if is_held { ask(config) } else { None },
            silence: if is_held { silence(config) } else { None },
            stored: None,
        }
    }

    fn as_json(&self, config: &Config) -> Value {
        let stored = self.stored.as_ref();
        json!({
            "running": self.holder.is_some(),
            "holder": self.holder,
            "address": self.health.as_ref().map(|(address, _)| address.to_string()),
            "health": self.health.as_ref().map(|(_, health)| health),
            "data_dir": config.data_dir,
            "events_position": stored.map(|s| s.seq),
            "marts_lag": stored.map(|s| s.lag),
            "time_zone": stored.map(|s| &s.time_zone),
            "roots": config.roots().iter().map(root_json).collect::<Vec<_>>(),
            "providers": stored
                .map(|s| s.providers.iter().map(totals_json).collect::<Vec<_>>())
                .unwrap_or_default(),
            "missing": stored.map(|s| s.missing),
            "failing": stored
                .map(|s| {
                    let failing = s.failing.iter();
                    failing.map(|(path, error)| json!({ "path": path, "error": error })).collect::<Vec<_>>()
                })
                .unwrap_or_default(),
            "unpriced_models": stored
                .map(|s| {
                    let models = s.unpriced.iter();
                    models.map(|(model, n)| json!({ "model": model, "calls": n })).collect::<Vec<_>>()
                })
                .unwrap_or_default(),
        })
    }

    fn as_text(&self, config: &Config) -> String {
        let mut text = self.service_text();
        let database = config.data_dir.join("tallyd.db");
        let Some(stored) = &self.stored else {
            text.push_str(&format!("database  none yet in {}\n\n", config.data_dir.display()));
            text.push_str(&found_table(config));
            return text;
        };
        let bytes = fs::metadata(&database).map_or(0, |m| m.len());
        let pending = match &config.time_zone {
            Some(zone) if *zone != stored.time_zone => format!(" (from the next start in {zone})"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "database  {}, {}, days in {}{pending}\n",
            database.display(),
            text::bytes(bytes),
            stored.time_zone
        ));
        text.push_str(&match stored.lag {
            0 => "marts     all five up to date\n".to_owned(),
            lag => format!("marts     {} changes behind\n", text::count(lag)),
        });
        text.push('\n');
        text.push_str(&self.provider_table(stored));
        if stored.missing > 0 {
            let are = if stored.missing == 1 { "is" } else { "are" };
            text.push_str(&format!(
                "{} of these sources {are} gone by now; what was read there stays counted\n",
                text::count(stored.missing as u64)
            ));
        }
        text.push('\n');
        text.push_str(&found_table(config));
        let mut notes = String::new();
        for (_, error) in &stored.failing {
            notes.push_str(&format!("{}\n", text::plain(error)));
        }
        for provider in &stored.providers {
            for (reason, n) in &provider.skips.0 {
                let (id, n) = (&provider.usage.provider, text::counted(*n, "record"));
                notes.push_str(&format!("{id}: {n} skipped ({})\n", reason.describe()));
            }
        }
        for (model, calls) in &stored.unpriced {
            let name = if model.is_empty() { "(no name)" } else { model };
            let (name, calls) = (text::plain(name), text::counted(*calls, "call"));
            notes.push_str(&format!("no price known: {name}, {calls}\n"));
        }
        if !notes.is_empty() {
            text.push_str(&format!("\n{notes}"));
        }
        text
    }

    fn service_text(&self) -> String {
        let Some((address, health)) = &self.health else {
            return match &self.holder {
                None => {
                    "service   not running (`tallyd service install` keeps it running)\n".to_owned()
                }
                Some(holder) if holder.starts_with("tallyd run ") => {
                    let why = self.silence.as_deref().unwrap_or("it does not answer over HTTP");
                    format!("service   {holder} is running, but {why}\n")
                }
                Some(holder) => format!("service   not running; {holder} is\n"),
            };
        };
        let verdict = health["status"].as_str().unwrap_or("unknown");
        let mut text = format!("service   running on http://{address}, health {verdict}\n");
        let checks = health["checks"].as_object().into_iter().flatten();
        for (name, results) in checks {
            for result in results.as_array().into_iter().flatten() {
                if result["status"] != "pass" {
                    let why = result["output"].as_str().unwrap_or("no reason given");
                    text.push_str(&format!("          {name}: {why}\n"));
                }
            }
        }
        text
    }

    fn provider_table(&self, stored: &Stored) -> String {
        let now = now_ms();
        let columns = [
            ("agent", Align::Left),
            ("sources", Align::Right),
            ("calls", Align::Right),
            ("prompts", Align::Right),
            ("tokens", Align::Right),
            ("cost", Align::Right),
            ("", Align::Whole),
            ("newest", Align::Right),
        ];
        let rows: Vec<_> = stored
            .providers
            .iter()
            .map(|p| {
                let ProviderUsage { provider, figures, user_message_count, newest_ts_ms } =
                    &p.usage;
                let Figures { message_count, cost_nanousd, unpriced_count, .. } = *figures;
                let [cost, lack] = text::cost_cells(cost_nanousd, message_count, unpriced_count);
                vec![
                    provider.clone(),
                    text::count(p.sources),
                    text::count(message_count),
                    text::count(*user_message_count),
                    text::count(figures.tokens()),
                    cost,
                    lack,
                    newest_ts_ms.map_or_else(|| "-".to_owned(), |ts| text::ago(now, ts)),
                ]
            })
            .collect();
        if rows.is_empty() {
            return "no agent logs read yet; `tallyd providers` says where they are looked for\n"
                .to_owned();
        }
        table(&columns, &rows)
    }
}
