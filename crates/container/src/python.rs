//! The Python host, carried in this binary and written out at each start: always the one that fits.

use std::fs;
use std::path::{Path, PathBuf};

use st2sa_machine::files::FileError;

/// The package's files.
const FILES: &[(&str, &str)] = &[
    ("__init__.py", include_str!("../../../python/st2sa_host/__init__.py")),
    ("__main__.py", include_str!("../../../python/st2sa_host/__main__.py")),
    ("channel.py", include_str!("../../../python/st2sa_host/channel.py")),
    ("crash.py", include_str!("../../../python/st2sa_host/crash.py")),
    ("cursor.py", include_str!("../../../python/st2sa_host/cursor.py")),
    ("faults.py", include_str!("../../../python/st2sa_host/faults.py")),
    ("loader.py", include_str!("../../../python/st2sa_host/loader.py")),
    ("missing.py", include_str!("../../../python/st2sa_host/missing.py")),
    ("orphans.py", include_str!("../../../python/st2sa_host/orphans.py")),
    ("payload.py", include_str!("../../../python/st2sa_host/payload.py")),
    ("places.py", include_str!("../../../python/st2sa_host/places.py")),
    ("provided.py", include_str!("../../../python/st2sa_host/provided.py")),
    ("sensor.py", include_str!("../../../python/st2sa_host/sensor.py")),
    ("service.py", include_str!("../../../python/st2sa_host/service.py")),
    ("waiting.py", include_str!("../../../python/st2sa_host/waiting.py")),
];

/// Writes the host below `folder`; returns what Python is to find it by.
pub(crate) fn write(folder: &Path) -> Result<PathBuf, FileError> {
    let path = folder.join("python");
    let package = path.join("st2sa_host");
    // An older release may have had other files, and Python keeps what it has compiled.
    if package.exists() {
        fs::remove_dir_all(&package).map_err(FileError::io("remove", &package))?;
    }
    fs::create_dir_all(&package).map_err(FileError::io("create", &package))?;
    for (name, text) in FILES {
        let file = package.join(name);
        fs::write(&file, text).map_err(FileError::io("write", &file))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_host_is_carried() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/st2sa_host");
        let mut there: Vec<String> = fs::read_dir(source)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "py"))
            .collect();
        there.sort_unstable();
        assert_eq!(there, FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
