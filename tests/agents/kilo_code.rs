//! Kilo Code holds its database open, as OpenCode does; its old extension saved tasks by rename.

use super::opencode::OpenCode;
use super::{Followed, roo_code};
use crate::support::Home;

#[test]
fn kilo_code_is_followed_in_its_database_and_in_its_old_tasks() {
    let home = Home::new();
    let data = home.path().join(".local/share/kilo");
    let extension = ".config/VSCodium/User/globalStorage/kilocode.kilo-code";
    let folder = home.path().join(extension).join("tasks/5e550000-0000-4000-8000-000000000001");
    let mut kilo = OpenCode::open_at(&data.join("kilo.db"));
    let mut followed = Followed::start(home, "kilo-code");
    for n in 1..=12 {
        kilo.call();
        followed.see(n);
        match n % 4 {
            1 => kilo.checkpoint(),
            2 => kilo.db.execute_batch("VACUUM").unwrap(),
            _ => {}
        }
    }
    assert_eq!(followed.tokens(), (1..=12).map(|n| 100 + n).sum::<i64>());
    for n in 1..=6 {
        roo_code::save(&folder, n);
        followed.see(12 + n);
    }
    let of_tasks = (1..=6).map(|n| 1_000 + n).sum::<i64>();
    assert_eq!(followed.tokens(), (1..=12).map(|n| 100 + n).sum::<i64>() + of_tasks);
    drop(kilo);
    followed.end(&data, false);
}
