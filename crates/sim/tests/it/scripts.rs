//! Golden scripts: what an operator reads of a cluster to which this happens; a change shows in the diff.

use std::fs;

use st2sa_sim::script::play;

#[test]
fn scripts() {
    insta::glob!("scripts/*.txt", |path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let output = play(&name, &text).unwrap_or_else(|error| panic!("{error:#}"));
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(output);
        });
    });
}

#[test]
fn the_same_script_tells_the_same_story() {
    let text = include_str!("scripts/silent.txt");
    assert_eq!(play("silent.txt", text).unwrap(), play("silent.txt", text).unwrap());
}

#[test]
fn an_unknown_command_is_refused_with_its_line_and_what_there_is() {
    let error = refusal("cluster containers=2 sensors=1\n\n# a comment\nstart\nrnu 5s\n");
    assert!(error.starts_with("test.txt:5: `rnu` is no command; there are cluster, container, "), "{error}");
}

#[test]
fn wrong_words_are_refused_with_those_that_are_allowed() {
    for (line, error) in [
        ("run", "allowed is `run TIME`: `run` does not take these words"),
        ("run 5", "allowed is `run TIME`: `5` is no time; times are like 400ms, 5s, 10min"),
        ("join", "allowed is `join CONTAINER`: `join` does not take these words"),
        (
            "leave box-9",
            "allowed is `leave CONTAINER [back TIME]`: there is no container `box-9`; there are container-1, container-2",
        ),
        (
            "fail a.B dies 1s",
            "allowed is `fail SENSOR [on CONTAINER] (raises | hangs | dies) TIME`: there is no sensor `a.B`; there are files.Watcher1",
        ),
        ("cut container-1 5s back 2s", "allowed is `cut CONTAINER TIME`: nothing comes back here"),
        ("cluster containers=1", "there is a `cluster` already"),
        ("sensor files.Other", "`sensor` comes before `start`"),
    ] {
        let text = format!("cluster containers=2 sensors=1\nstart\n{line}\n");
        assert_eq!(refusal(&text), format!("test.txt:3: {error}"));
    }
}

#[test]
fn a_script_begins_with_its_cluster() {
    let cluster = "cluster arbitrators=N containers=N sensors=N [zones=N] [fail-safe]";
    assert_eq!(refusal("start\n"), format!("test.txt:1: the first command is `{cluster}`"));
    assert_eq!(refusal("# nothing\n"), format!("test.txt: there is no `{cluster}`"));
    let error = format!("test.txt:1: allowed is `{cluster}`: `boxes=3` is no option of a cluster");
    assert_eq!(refusal("cluster boxes=3\n"), error);
}

fn refusal(text: &str) -> String {
    play("test.txt", text).map_or_else(|error| format!("{error:#}"), |_| "it was played".to_owned())
}
