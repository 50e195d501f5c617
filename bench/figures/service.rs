//! Starting over many logs, and doing nothing over many logs.

use std::time::{Duration, Instant};

use crate::program::{Place, Service, millis, pause_until};
use crate::table::{Table, Wanted};

/// From start to ready with nothing new to read.
pub(crate) fn restart(place: &Place, table: &mut Table, sources: u64, times: usize) {
    let start = |_| {
        let service = Service::start(place);
        let ready = millis(service.begun.elapsed());
        service.stop();
        ready
    };
    let samples = (0..times).map(start).collect();
    let figure = format!("restart to ready, {sources} sources, nothing new");
    table.add(figure, "ms", &[Wanted::Most(300.0)], samples);
}

/// Time and memory of a service that nobody writes to or asks. A sweep comes every half minute.
pub(crate) fn idle(place: &Place, table: &mut Table, sources: u64, minutes: f64) {
    const PARTS: u32 = 10;
    /// What starting left to do is done by then.
    const SETTLE: Duration = Duration::from_secs(2);
    let service = Service::start(place);
    let process = service.process();
    pause_until(Instant::now() + SETTLE);
    let (begun, before) = (Instant::now(), process.cpu_s());
    let part = Duration::from_secs_f64(minutes * 60.0) / PARTS;
    let [mut resident, mut shared, mut own, mut shares] = [const { Vec::new() }; 4];
    let look = |of: &mut Vec<f64>, file: &str, name: &str| {
        of.push(process.memory_mib(file, name).unwrap());
    };
    let share = |cpu_s: f64, time: Duration| cpu_s / time.as_secs_f64() * 100.0;
    for i in 1..=PARTS {
        let cpu_s = process.cpu_s();
        pause_until(begun + part * i);
        shares.push(share(process.cpu_s() - cpu_s, part));
        look(&mut resident, "smaps_rollup", "Rss:");
        look(&mut shared, "smaps_rollup", "Pss:");
        look(&mut own, "smaps_rollup", "Pss_Anon:");
    }
    let whole = share(process.cpu_s() - before, begun.elapsed());
    service.stop();
    let figure = format!("idle for {minutes:.1} min, {sources} sources: share of a core");
    table.add(figure, "%", &[Wanted::P50(0.2)], vec![whole]);
    table.add("each tenth of that", "%", &[], shares);
    table.add("idle memory, resident", "MiB", &[Wanted::Most(25.0)], resident);
    table.add("idle memory, its share of shared pages", "MiB", &[], shared);
    table.add("idle memory, anonymous", "MiB", &[], own);
}
