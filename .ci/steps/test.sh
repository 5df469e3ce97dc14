# Every test of the workspace passes, by the very command that README shows; so do the examples of the
# documentation.
# Time limit: 3000

command=$(readme_command "cargo test")
[[ -n $command ]] || die "README.md shows no command 'cargo test' in a fence"
run_tests bash -c "$command"
awk '/Doc-tests / { ours = /Doc-tests larder$/ }
    ours && /^test result: ok\. [1-9]/ { found = 1 }
    END { exit !found }' "$said" ||
    die "'$command' ran no doc test of larder"
