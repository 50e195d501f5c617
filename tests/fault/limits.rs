//! What the process may not have: descriptors, permissions, time on a processor.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::faults::{assert_nothing_lost, call, calls, run_by, wait_healthy, works};
use crate::support::{Home, Service, append, integer, wait};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const CALLS: &str = "SELECT ifnull(sum(message_count), 0) FROM daily_mart";
const RUN: [&str; 5] = ["run", "--listen", "127.0.0.1:0", "--log-format", "json"];

fn wait_for_calls(home: &Home, count: i64) {
    wait("the calls in the marts", || integer(&home.database(), CALLS) == count);
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn h37_a_service_out_of_descriptors_goes_on_and_loses_nothing() {
    if !works(&["prlimit", "--version"]) {
        return;
    }
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 1\n");
    home.write(LOG, calls(0..20));
    let mut service = Service::spawn(run_by(
        &["sh", "-c", "ulimit -n 32; exec \"$@\"", "sh"],
        &home.command(&RUN),
    ));
    service.wait_ready();
    let open = fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count();
    assert!(open < 32, "{open} descriptors are open");
    // Clients take what is left.
    let clients: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(("127.0.0.1", service.port())).unwrap()).collect();
    for n in 20..60 {
        home.append(&format!(".claude/projects/-w/{n}.jsonl"), call(n));
    }
    home.append(LOG, call(60));
    // They are sent away after five seconds.
    wait_for_calls(&home, 61);
    drop(clients);
    wait_healthy(&service);
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after a lack of descriptors");
}

#[test]
fn h37_logs_that_cannot_be_opened_for_lack_of_descriptors_are_shown_and_read_later() {
    if !works(&["prlimit", "--version"]) {
        return;
    }
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 1\n");
    home.write(LOG, calls(0..20));
    let mut service = Service::start(&home);
    service.wait_ready();
    // A connection that is there already: no new one can be accepted.
    let mut client = Client::of(&service);
    assert_eq!(client.get("/health").json()["status"], "pass");
    let limit = |soft: &str| {
        let (pid, soft) = (service.pid().to_string(), format!("--nofile={soft}:4096"));
        assert!(works(&["prlimit", "--pid", &pid, &soft]));
    };
    // Fewer than are open: nothing more can be opened.
    limit("3");
    home.append(LOG, call(20));
    home.append(".claude/projects/-w/new.jsonl", call(21));
    wait("health to warn", || {
        let health = client.get("/health").json();
        health["status"] == "warn" && health.to_string().contains("Too many open files")
    });
    limit("1024");
    wait_for_calls(&home, 22);
    wait_healthy(&service);
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after a lack of descriptors");
}

#[test]
fn h17_a_log_and_a_folder_that_may_not_be_read_for_a_while_are_shown_and_read_later() {
    let home = Home::of_a_mortal();
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 1\n");
    let log = home.write(LOG, calls(0..20));
    let folder = home.write(".claude/projects/-x/x.jsonl", call(20));
    let folder = folder.parent().unwrap();
    let mut service = Service::start(&home);
    service.wait_ready();
    for round in 0..3 {
        let next = 21 + round * 3;
        allow(&log, 0o000);
        allow(folder, 0o000);
        home.append(LOG, call(next));
        fs::write(folder.join(format!("{round}.jsonl")), call(next + 1)).unwrap();
        home.write(&format!(".claude/projects/-y/{round}.jsonl"), call(next + 2));
        service.wait_for_check("sources:failing", "warn", "s.jsonl");
        service.wait_for_check("sources:denied", "warn", "-x");
        wait("the log beside them", || {
            integer(&home.database(), CALLS) == i64::try_from(next).unwrap() + 1
        });
        allow(&log, 0o600);
        allow(folder, 0o700);
        // Whoever wrote the file gave it to the service's user.
        home.write(&format!(".claude/projects/-x/{round}.jsonl"), call(next + 1));
        wait_for_calls(&home, i64::try_from(next).unwrap() + 3);
        wait_healthy(&service);
    }
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
}

#[test]
fn h39_a_data_directory_that_may_not_be_entered_for_a_while_ends_nothing() {
    let home = Home::of_a_mortal();
    home.write(LOG, calls(0..20));
    let mut service = Service::start(&home);
    service.wait_ready();
    allow(&home.data_dir(), 0o000);
    home.append(LOG, call(20));
    // Twice the time between two looks after the file.
    std::thread::park_timeout(Duration::from_secs(11));
    assert!(service.is_running());
    home.append(LOG, call(21));
    allow(&home.data_dir(), 0o700);
    wait_for_calls(&home, 22);
    wait_healthy(&service);
    assert_eq!(service.stop(), 0);
}

#[test]
fn h30_a_service_that_was_stopped_for_a_while_sweeps_and_stays_healthy() {
    let home = Home::new();
    // No sweep but the first would come by itself.
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 86400\n");
    home.write(LOG, calls(0..20));
    let mut service = Service::start(&home);
    service.wait_ready();
    // What is written by another name of the file is not heard of: only a sweep finds it.
    let other_name = home.path().join("other_name");
    fs::hard_link(home.path().join(LOG), &other_name).unwrap();
    service.signal("-STOP");
    // Longer than a tick may be late.
    std::thread::park_timeout(Duration::from_secs(7));
    append(&other_name, call(20).as_bytes());
    service.signal("-CONT");
    assert_eq!(service.get("/livez").0, 200);
    wait_for_calls(&home, 21);
    wait_healthy(&service);
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after a pause");
}
