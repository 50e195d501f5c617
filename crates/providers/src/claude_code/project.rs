//! Which project a transcript's records belong to.
//!
//! The folder of a transcript is named after the directory the session was started in, with all
//! that is no ASCII letter or digit made a dash. That cannot be undone, but it can be recognised:
//! agents change into subdirectories, so the directory that a record names or one above it is the
//! one the folder is named after.

use std::iter;

/// No agent works deeper below the folder it was started in. Looking further would only take time.
const MAX_DEPTH: usize = 64;

/// Longer folder names are cut and told apart by a hash.
const MAX_UNITS: usize = 200;

/// The directory at or above `cwd` that `folder` is named after; `cwd` itself if there is none.
pub(super) fn project_of<'a>(cwd: &'a str, folder: &str) -> &'a str {
    iter::successors(Some(cwd), |path| parent(path))
        .take(MAX_DEPTH)
        .find(|path| slug(path) == folder)
        .unwrap_or(cwd)
}

/// The directory above, of Unix and Windows paths whatever this machine is.
fn parent(path: &str) -> Option<&str> {
    let separators: &[char] = if path.starts_with('/') { &['/'] } else { &['/', '\\'] };
    let cut = path.rfind(separators)?;
    let is_root = cut == 0 || path[..cut].ends_with(':');
    let parent = if is_root { &path[..=cut] } else { &path[..cut] };
    (parent.len() < path.len()).then_some(parent)
}

/// The folder name of a directory's transcripts. It is made of UTF-16 units, as its inventor
/// counts characters.
fn slug(path: &str) -> String {
    let letter = |unit| u8::try_from(unit).ok().map(char::from).filter(char::is_ascii_alphanumeric);
    let mut slug: String = path.encode_utf16().map(|unit| letter(unit).unwrap_or('-')).collect();
    if slug.len() > MAX_UNITS {
        let hash = path
            .encode_utf16()
            .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        slug.truncate(MAX_UNITS);
        slug.push('-');
        slug.push_str(&base36(hash.unsigned_abs()));
    }
    slug
}

fn base36(mut n: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(n % 36, 36));
        n /= 36;
        if n == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_a_dash_for_each_unit_that_is_no_letter_or_digit() {
        assert_eq!(slug("/home/a/My_app.v2"), "-home-a-My-app-v2");
        assert_eq!(slug(r"C:\a_b"), "C--a-b");
        assert_eq!(slug("/ü/𝄞"), "-----");
    }

    #[test]
    fn a_long_slug_is_cut_and_hashed() {
        let path = format!("/{}", "a".repeat(199));
        assert_eq!(slug(&path), format!("-{}", "a".repeat(199)));
        // The hashes are those of the common 31 * h + c over 32 bits, worked out apart from this.
        let path = format!("/{}", "a".repeat(200));
        assert_eq!(slug(&path), format!("-{}-b6ymvl", "a".repeat(199)));
        let path = format!("/{}", "b".repeat(300));
        assert_eq!(slug(&path), format!("-{}-km8bov", "b".repeat(199)));
    }

    #[test]
    fn the_project_is_the_directory_the_folder_is_named_after() {
        let check = |cwd, folder, project| assert_eq!(project_of(cwd, folder), project);
        check("/w/shop", "-w-shop", "/w/shop");
        check("/w/shop/src/api", "-w-shop", "/w/shop");
        check("/w/shop/", "-w-shop", "/w/shop");
        check("/w/my_shop/src", "-w-my-shop", "/w/my_shop");
        check("/x", "-", "/");
        check(r"C:\dev\shop\src", "C--dev-shop", r"C:\dev\shop");
        check(r"C:\dev", "C--", r"C:\");
        check("D:/dev/shop/src", "D--dev-shop", "D:/dev/shop");
        check(r"\\nas\dev\shop", "--nas-dev", r"\\nas\dev");
    }

    #[test]
    fn a_folder_of_another_name_leaves_the_cwd() {
        assert_eq!(project_of("/w/shop", "-w-other"), "/w/shop");
        assert_eq!(project_of("relative", ""), "relative");
        // On Unix a backslash is a character like others, not a separator.
        assert_eq!(project_of(r"/w\shop", "-w"), r"/w\shop");
    }
}
