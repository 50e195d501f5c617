//! Removes what was counted and the settings: what this program made, by name, and nothing else.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use store::DataDir;

use super::{Steps, refused};
use crate::config::{Config, config_home};
use crate::engine::{CANARY, SCRATCH};
use crate::run::address_file;

/// Refuses what cannot be purged, before anything is taken away.
pub(super) fn refuse(config: &Config) -> anyhow::Result<()> {
    let dir = &config.data_dir;
    if fs::symlink_metadata(dir).is_ok_and(|data| data.is_symlink()) {
        return Err(refused(
            format!("{} is a link, and links are not followed to remove anything", dir.display()),
            "uninstall without --purge and remove the folder it points to",
        ));
    }
    Ok(())
}

pub(super) fn purge(config: &Config, steps: &mut Steps) -> anyhow::Result<()> {
    let dir = &config.data_dir;
    if dir.exists() {
        // Held until all is gone.
        let held = DataDir::lock(dir)?;
        let address = address_file(dir);
        let is_ours = |name: &OsStr| Some(name) == address.file_name() || DataDir::is_named(name);
        let cannot = || format!("cannot remove {}", dir.display());
        let is_copy = |name: &OsStr| name.as_encoded_bytes().starts_with(b"copy.db");
        remove_files(&dir.join(SCRATCH), is_copy).with_context(cannot)?;
        remove_files(&dir.join(CANARY), |name| name == "song").with_context(cannot)?;
        remove_files(dir, is_ours).with_context(cannot)?;
        drop(held);
        if dir.exists() {
            steps.tell(format!("kept {}: it holds files of others", dir.display()))?;
        } else {
            steps.tell(format!("removed {}", dir.display()))?;
        }
        prune(dir.parent(), &config.env.home)?;
    }
    let settings = config_home(&config.env).join("tallyd/config.toml");
    if settings.is_file() {
        fs::remove_file(&settings)
            .with_context(|| format!("cannot remove {}", settings.display()))?;
        steps.tell(format!("removed {}", settings.display()))?;
    }
    prune(settings.parent(), &config.env.home)?;
    if config.file != settings && config.file.is_file() {
        steps.tell(format!("kept {}, as you named it yourself", config.file.display()))?;
    }
    Ok(())
}

/// Removes the files of a folder, and the folder if that leaves it empty. A link is no file, and
/// what it points to is not touched.
fn remove_files(folder: &Path, is_ours: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|data| data.is_dir());
    if !is_folder {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && is_ours(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    remove_empty(folder).map(drop)
}

/// Removes empty folders from `folder` up, but never `home` or what is outside it.
pub(super) fn prune(folder: Option<&Path>, home: &Path) -> anyhow::Result<()> {
    let above = folder.into_iter().flat_map(Path::ancestors);
    for folder in above.take_while(|folder| folder.starts_with(home) && *folder != home) {
        let gone = remove_empty(folder);
        if !gone.with_context(|| format!("cannot remove {}", folder.display()))? {
            break;
        }
    }
    Ok(())
}

/// Whether the folder is gone.
fn remove_empty(folder: &Path) -> io::Result<bool> {
    match fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        // A link to a folder.
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Flags;

    fn config(home: &Path) -> Config {
        let vars = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
        Config::load(vars, &Flags::default()).unwrap()
    }

    fn purged(config: &Config) -> anyhow::Result<Vec<String>> {
        let mut steps = Steps { json: true, told: Vec::new() };
        refuse(config)?;
        purge(config, &mut steps)?;
        Ok(steps.told)
    }

    #[test]
    fn all_that_is_ours_goes_and_nothing_is_left_of_the_folders() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let dir = &config.data_dir;
        fs::create_dir_all(dir.join("scratch")).unwrap();
        for name in ["tallyd.db", "tallyd.db-wal", "tallyd.db.corrupt-1", "tallyd.address"] {
            fs::write(dir.join(name), "").unwrap();
        }
        fs::write(dir.join("scratch/copy.db"), "").unwrap();
        fs::create_dir(dir.join("canary")).unwrap();
        fs::write(dir.join("canary/song"), ".").unwrap();
        fs::create_dir_all(config.file.parent().unwrap()).unwrap();
        fs::write(&config.file, "").unwrap();
        purged(&config).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        purged(&config).unwrap();
    }

    #[test]
    fn what_others_put_there_and_what_links_point_to_stays() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let dir = &config.data_dir;
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("tallyd.db"), "").unwrap();
        fs::write(dir.join("notes.txt"), "").unwrap();
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("mine"), "").unwrap();
        fs::write(elsewhere.join("copy.db"), "").unwrap();
        symlink(&elsewhere, dir.join("scratch")).unwrap();
        symlink(elsewhere.join("mine"), dir.join("tallyd.db-wal")).unwrap();
        let told = purged(&config).unwrap();
        assert!(told[0].starts_with("kept"), "{told:?}");
        assert!(dir.join("notes.txt").exists() && dir.join("tallyd.db-wal").is_symlink());
        assert!(elsewhere.join("mine").exists() && elsewhere.join("copy.db").exists());
        assert!(!dir.join("tallyd.db").exists());

        fs::rename(dir, home.path().join("moved")).unwrap();
        symlink(home.path().join("moved"), dir).unwrap();
        assert!(purged(&config).unwrap_err().to_string().contains("is a link"));
    }

    #[test]
    fn a_held_folder_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let held = DataDir::lock(&config.data_dir).unwrap();
        held.sign("tallyd run (process 7)").unwrap();
        fs::write(config.data_dir.join("tallyd.db"), "").unwrap();
        let error = purged(&config).unwrap_err();
        assert_eq!(crate::output::exit_code(&error), 75);
        assert!(config.data_dir.join("tallyd.db").exists());
    }
}
