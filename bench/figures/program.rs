//! The built binary as its users drive it: commands, the service, its HTTP.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::scratch::Running;
use crate::support::{open, signal, tallyd, wait};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A home folder with logs, and the folder of a database made from them.
pub(crate) struct Place {
    pub(crate) home: PathBuf,
    pub(crate) data: PathBuf,
}

/// What a command took, seen from outside.
pub(crate) struct Spent {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_mib: f64,
}

impl Place {
    pub(crate) fn new(dir: &Path) -> Self {
        let place = Self { home: dir.join("home"), data: dir.join("data") };
        fs::create_dir_all(&place.home).unwrap();
        place
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = tallyd(&self.home, args);
        command.env("TALLYD_DATA_DIR", &self.data).env("TALLYD_LOG", "error");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    pub(crate) fn database(&self) -> Connection {
        open(&self.data.join("tallyd.db"))
    }

    /// Runs a command; its time in milliseconds and its output.
    pub(crate) fn time(&self, args: &[&str]) -> (f64, Output) {
        let mut command = self.command(args);
        let begun = Instant::now();
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        (millis(begun.elapsed()), output)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let (_, output) = self.time(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A backfill of what is new. Memory is looked at every few milliseconds: the kernel keeps its
    /// peak, and forgets it when the process ends.
    pub(crate) fn backfill(&self) -> Spent {
        let begun = Instant::now();
        let mut running = Running::start(&mut self.command(&["backfill"]));
        let process = Process(running.0.id());
        let mut peak_mib = 0.0_f64;
        while !process.has_ended() {
            peak_mib = process.memory_mib("status", "VmHWM:").unwrap_or(0.0).max(peak_mib);
            pause(2 * MS);
        }
        let spent =
            Spent { wall_s: begun.elapsed().as_secs_f64(), cpu_s: process.cpu_s(), peak_mib };
        let status = running.0.wait().unwrap();
        assert!(status.success(), "backfill: {status}");
        spent
    }

    pub(crate) fn append(&self, path: &str, text: &str) {
        let path = self.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// A process in `/proc`.
pub(crate) struct Process(u32);

impl Process {
    /// The fields after the name, which may contain anything.
    fn stat(&self) -> Vec<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().map(str::to_owned).collect()
    }

    /// Nobody has asked yet how it ended, so that its figures are still there.
    fn has_ended(&self) -> bool {
        self.stat()[0] == "Z"
    }

    /// User and system time of all its threads. Linux counts them in hundredths of a second.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = self.stat();
        let ticks = |field: usize| stat[field].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    /// A line of one of its files; there is none of a process that has just ended.
    pub(crate) fn memory_mib(&self, file: &str, name: &str) -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0)).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
    }
}

/// A service that runs.
pub(crate) struct Service {
    running: Running,
    pub(crate) address: String,
    pub(crate) begun: Instant,
}

impl Service {
    /// Starts it and waits for nothing.
    pub(crate) fn launch(place: &Place) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free.to_string();
        let begun = Instant::now();
        let running = Running::start(&mut place.command(&["run", "--listen", &address]));
        Self { running, address, begun }
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(place: &Place) -> Self {
        let service = Self::launch(place);
        service.wait_ready();
        service
    }

    pub(crate) fn wait_ready(&self) {
        wait("the service to be ready", MS, || {
            Client::of(&self.address)
                .and_then(|mut client| client.get("/readyz"))
                .is_ok_and(|status| status == 200)
        });
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.running.0.id())
    }

    pub(crate) fn stop(mut self) {
        signal(&self.running.0, "-TERM");
        let status = self.running.0.wait().unwrap();
        assert!(status.success(), "the service ended with {status}");
    }
}

/// A connection that stays.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    address: String,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn of(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream: BufReader::new(stream), address: address.to_owned(), body: Vec::new() })
    }

    /// The status, once the whole answer is here.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(status)
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn pause(time: Duration) {
    pause_until(Instant::now() + time);
}

pub(crate) fn pause_until(end: Instant) {
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|t| !t.is_zero()) {
        std::thread::park_timeout(left);
    }
}
