//! What this machine has, as far as this process may use it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::thread;

/// As many mappings a process gets if nobody has set anything else.
const USUAL_MAX_MAPPINGS: usize = 65_530;

/// How many cpus this process may use: affinity and the quotas of its groups counted.
pub(crate) fn cpus() -> u64 {
    thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64)
}

/// The memory that this process may use, in bytes; zero where nobody says.
pub(crate) fn memory_bytes() -> u64 {
    let installed = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(limit_of_group);
    installed.into_iter().chain(limits).min().unwrap_or(0)
}

/// How many mappings the system gives a process.
pub(crate) fn max_mappings() -> usize {
    let said = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    said.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_MAX_MAPPINGS)
}

/// What people call this machine.
pub(crate) fn name() -> Box<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

/// The graphics processors that this process may use, as `CUDA_VISIBLE_DEVICES` names them.
pub(crate) fn gpus(visible: Option<&OsString>) -> Vec<Box<str>> {
    match visible {
        Some(list) => listed_gpus(&list.to_string_lossy()),
        None => (0..installed_gpus()).map(|index| index.to_string().into()).collect(),
    }
}

/// As CUDA reads the list: it ends at the first entry that names nothing.
fn listed_gpus(list: &str) -> Vec<Box<str>> {
    let names = list.split(',').map(str::trim);
    names.take_while(|name| !name.is_empty() && *name != "-1").map(Box::from).collect()
}

fn installed_gpus() -> usize {
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia").is_some_and(|index| {
            !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    devices.filter(|device| device.file_name().to_str().is_some_and(is_gpu)).count()
}

fn mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The smallest memory limit of the group that a line of `/proc/self/cgroup` names and of those
/// above it.
fn limit_of_group(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (root, file) = match controllers {
        "" => (Path::new("/sys/fs/cgroup"), "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|ancestor| ancestor.starts_with(root));
    groups.filter_map(|group| limit_in(&group.join(file))).min()
}

/// None for `max`, and for a group that is not visible from here.
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_gpus_ends_where_cuda_ends_it() {
        let listed = |list: &str| gpus(Some(&OsString::from(list))).join("|");
        assert_eq!(listed("0, 2"), "0|2");
        assert_eq!(listed("GPU-a1,3"), "GPU-a1|3");
        assert_eq!(listed("1,-1,2"), "1");
        assert_eq!(listed(""), "");
    }

    #[test]
    fn memory_is_read_from_the_kernel() {
        assert_eq!(mem_total("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
        assert!(memory_bytes() > 1 << 20);
    }
}
