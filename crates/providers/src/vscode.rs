//! VS Code and the editors made from it: where they keep what an extension stores.
//!
//! Every product has a folder of its own in the folder of application data, and new products come up
//! all the time. So none is named: whatever has the storage of the extension in the right place
//! is one. What is in that storage is left to the extension's provider.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::Env;

/// What the folders of application data are called.
const APPLICATION_DATA: [&str; 2] = [".config", "Application Support"];
const USER: &str = "User";
const GLOBAL_STORAGE: &str = "globalStorage";

/// What the servers are called that editors put on machines worked on from another one.
const SERVERS: [&str; 8] = [
    ".vscode-server",
    ".vscode-server-insiders",
    ".vscode-server-oss",
    ".vscode-remote",
    ".vscodium-server",
    ".cursor-server",
    ".windsurf-server",
    ".trae-server",
];

/// Where code-server keeps its data, below the home folder.
const CODE_SERVER: &str = ".local/share/code-server";

/// The folders below which the storage of `extension` may be.
pub(crate) fn roots(env: &Env, extension: &str) -> Vec<PathBuf> {
    let servers = SERVERS.iter().map(|server| env.home.join(server).join("data"));
    let servers = servers.chain([env.home.join(CODE_SERVER)]);
    let storages = servers.map(|data| data.join(USER).join(GLOBAL_STORAGE).join(extension));
    std::iter::once(application_data(env)).chain(storages).collect()
}

/// What of a root is looked into, to be shown: in the folder of application data the storage alone.
pub(crate) fn place(root: &Path, extension: &str) -> PathBuf {
    if is_application_data(root) {
        return root.join("*").join(USER).join(GLOBAL_STORAGE).join(extension);
    }
    root.to_owned()
}

/// Whether a root is called as the folder with a folder for each product is.
pub(crate) fn is_application_data(root: &Path) -> bool {
    APPLICATION_DATA.iter().any(|name| root.ends_with(name))
}

/// The folder with a folder for each product.
fn application_data(env: &Env) -> PathBuf {
    if cfg!(target_os = "macos") {
        return env.home.join("Library/Application Support");
    }
    let config = env.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    config.unwrap_or_else(|| env.home.join(".config"))
}

/// Where a path is, seen from the storage of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A folder in which a product may be, or on the way from there to the storage.
    Above,
    /// In the storage: the path below it.
    Inside(&'a Path),
    /// In the storage of another extension.
    Foreign,
    Elsewhere,
}

impl<'a> Place<'a> {
    /// Where `path`, which is below `root`, is.
    pub(crate) fn of(root: &Path, path: &'a Path, extension: &str) -> Self {
        let mut parts = path.components();
        while let Some(part) = parts.next() {
            if part.as_os_str() == GLOBAL_STORAGE
                && let Some(owner) = parts.next()
            {
                let is_own = owner.as_os_str() == extension;
                return if is_own { Self::Inside(parts.as_path()) } else { Self::Foreign };
            }
        }
        let below: Vec<&OsStr> = path.strip_prefix(root).unwrap_or(path).iter().collect();
        match below[..] {
            [_product] => Self::Above,
            [_product, user] if user == USER => Self::Above,
            // The root is a product's folder itself.
            [user, storage] if user == USER && storage == GLOBAL_STORAGE => Self::Above,
            [_product, user, storage] if user == USER && storage == GLOBAL_STORAGE => Self::Above,
            _ => Self::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENSION: &str = "ada.helper";

    #[test]
    fn every_product_is_looked_into_on_the_way_to_the_storage_and_nowhere_else() {
        let check = |path: &str, place: Place<'_>| {
            let root = Path::new("/home/ada/.config");
            assert_eq!(Place::of(root, &root.join(path), EXTENSION), place, "{path}");
        };
        for product in ["Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf", "Next Year's"]
        {
            check(product, Place::Above);
            check(&format!("{product}/User"), Place::Above);
            check(&format!("{product}/User/globalStorage"), Place::Above);
            check(&format!("{product}/User/globalStorage/ada.helper"), Place::Inside("".as_ref()));
            let inside = format!("{product}/User/globalStorage/ada.helper/tasks/1");
            check(&inside, Place::Inside("tasks/1".as_ref()));
            check(&format!("{product}/User/globalStorage/bob.helper"), Place::Foreign);
            check(&format!("{product}/User/globalStorage/bob.helper/tasks"), Place::Foreign);
            check(&format!("{product}/User/workspaceStorage"), Place::Elsewhere);
            check(&format!("{product}/Cache"), Place::Elsewhere);
            check(&format!("{product}/Default/User/globalStorage"), Place::Elsewhere);
        }
    }

    #[test]
    fn people_are_shown_where_in_the_application_data_is_looked() {
        let check = |root: &str, shown: &str| {
            assert_eq!(place(Path::new(root), EXTENSION), Path::new(shown));
        };
        check("/home/ada/.config", "/home/ada/.config/*/User/globalStorage/ada.helper");
        check("/home/ada/.cline/data/tasks", "/home/ada/.cline/data/tasks");
    }

    #[test]
    fn the_storage_may_be_the_root_itself() {
        let root = Path::new("/home/ada/.cursor-server/data/User/globalStorage/ada.helper");
        assert_eq!(
            Place::of(root, &root.join("tasks"), EXTENSION),
            Place::Inside("tasks".as_ref())
        );
    }

    #[test]
    fn a_root_may_be_the_folder_of_a_product_or_of_its_user() {
        let storage = Path::new("/mnt/old/Code/User/globalStorage");
        for root in ["/mnt/old/Code", "/mnt/old/Code/User"] {
            for folder in storage.ancestors().take_while(|folder| *folder != Path::new(root)) {
                assert_eq!(Place::of(root.as_ref(), folder, EXTENSION), Place::Above, "{root}");
            }
            let own = storage.join(EXTENSION).join("tasks");
            assert_eq!(Place::of(root.as_ref(), &own, EXTENSION), Place::Inside("tasks".as_ref()));
        }
    }

    #[test]
    fn roots_are_the_application_data_and_the_servers() {
        let mut env = Env { home: "/home/ada".into(), ..Env::default() };
        let found = roots(&env, EXTENSION);
        let server = "/home/ada/.vscode-server/data/User/globalStorage/ada.helper";
        assert!(found.contains(&server.into()), "{found:?}");
        assert!(found.iter().any(|root| root.starts_with("/home/ada/.local/share/code-server")));
        assert_eq!(found.len(), 2 + SERVERS.len());
        if cfg!(target_os = "macos") {
            assert_eq!(found[0], Path::new("/home/ada/Library/Application Support"));
            return;
        }
        assert_eq!(found[0], Path::new("/home/ada/.config"));
        env.vars.insert("XDG_CONFIG_HOME".into(), "/data/config".into());
        assert_eq!(roots(&env, EXTENSION)[0], Path::new("/data/config"));
        env.vars.insert("XDG_CONFIG_HOME".into(), "config".into());
        assert_eq!(roots(&env, EXTENSION)[0], Path::new("/home/ada/.config"));
    }
}
