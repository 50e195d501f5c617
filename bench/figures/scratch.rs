//! The folder that everything is written to, and the processes that are started: none of either is
//! left behind, however this program ends.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A folder below `TMPDIR`. A signal that ends this program removes it, too.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("tallyd-figures-").tempdir().unwrap();
    let path = folder.path().to_owned();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).unwrap();
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            remove(&path);
            std::process::exit(128 + signal);
        }
    });
    folder
}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whatever is still being written appears again until its writer is gone. The list is held to the
/// end, so that nothing starts meanwhile.
fn remove(folder: &Path) {
    let running = running();
    while folder.exists() {
        for &pid in running.iter() {
            _ = kill_process(pid, Signal::KILL);
        }
        _ = fs::remove_dir_all(folder);
    }
    // Not given back: what the end of a process does to its owner is of no interest any more.
    std::mem::forget(running);
}

/// A process that ends with its owner.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        // Held meanwhile, so that no process starts unknown.
        let mut running = running();
        let child = command.spawn().unwrap();
        running.push(Pid::from_child(&child));
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.0);
        _ = self.0.kill();
        running().retain(|other| *other != pid);
        _ = self.0.wait();
    }
}
