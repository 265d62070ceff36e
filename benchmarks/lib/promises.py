"""What bitface promises, and where the tests of each promise stand."""

Places = dict[str, list[str]]

PROMISES: Places = {
    "Threads, forked and spawned processes get the embeddings of their own images": ["tests/runtime/test_threads.py"],
    "The default engine is exact on this CPU; others are named, measured and warned about": [
        "tests/targets/test_exact.py",
        "tests/cli/test_other_engine.py",
        "tests/graph/test_onnx_writer.py::test_openvino_rounds_what_additions_read",
    ],
    "Limits are integers only between Quantize and Dequantize": ["tests/graph/test_onnx_quantized.py"],
    "Networks in training mode are refused": ["tests/graph/test_onnx_training.py"],
    "A free image size is asked for, learned or said": ["tests/graph/test_image_size.py", "tests/cli/test_size.py"],
    "One command at a time in a folder, one result in it, after kill -9 too": [
        "tests/results/test_locks.py",
        "tests/results/test_folder.py",
    ],
    "Outputs replace files and nothing else": ["tests/test_files.py", "tests/cli/test_outputs.py"],
    "An integer network isn't quantized again without a word": ["tests/cli/test_quantized_before.py"],
    "The support of a FAR counts distinct comparisons": ["tests/evaluation/figures/test_distinct_comparisons.py"],
    "verify and identify say which face they took and which threshold applied": [
        "tests/cli/test_galleries.py",
        "tests/cli/test_thresholds.py",
    ],
    "Archives, weights, YAML, tables and artifacts can't grow beyond their files": [
        "tests/test_limits.py",
        "tests/data/datasets/test_shards.py",
        "tests/data/datasets/test_parquet.py",
        "tests/backbones/test_state_dicts.py",
        "tests/artifact/test_hostile_files.py",
        "tests/graph/test_onnx_folding.py",
    ],
    "No pickle runs anything": ["tests/backbones/test_inert_pickle.py", "tests/data/test_packs.py"],
    "What ends a command from outside ends it with one line and nothing half-written": ["tests/test_signals.py"],
    "What a killed process began goes with the next one, and nothing of others": ["tests/test_scratch.py"],
    "A lack of memory, files or disk is called that; other libraries are silent": ["tests/cli/test_low_memory.py"],
    "Names can't steer a terminal": ["tests/test_terminal.py"],
    "Files of settings are checked, key by key, before anything runs": [
        "tests/inputs/test_suites.py",
        "tests/inputs/test_recipes.py",
        "tests/inputs/test_protocols.py",
    ],
    "Damaged images are skipped and listed": ["tests/data/test_images.py", "tests/data/test_faces.py"],
    "Galleries are whole, or refused": ["tests/evaluation/test_gallery.py", "tests/evaluation/test_gallery_file.py"],
    "Every asset has its hash, and the bill of materials names all": [
        "tests/release/test_wheel.py",
        "tests/data/test_assets.py",
    ],
    "A training that goes on is the one that wasn't stopped": ["tests/training/test_loop.py"],
    "No package that is imported tells its makers, or leaves a number for its user": ["tests/test_telemetry.py"],
    "A training without compiled kernels says so": ["tests/quant/test_kernels.py", "tests/cli/test_training.py"],
    "One command with one seed writes the same, but for what is named": ["tests/cli/test_same_again.py"],
}

# Twenty-five tests that the field asks of such a tool: numerics, evaluation, robustness.
ASKED: Places = {
    "1. Simulated rounding is that of an independent oracle": [
        "tests/quant/test_uniform.py::test_equals_the_oracle",
        "tests/quant/test_kernels.py",
    ],
    "2. Rounding twice changes nothing; zero stays zero; constant tensors; NaN is named by its layer": [
        "tests/quant/test_uniform.py",
        "tests/quant/test_calibrate.py::test_an_activation_that_is_no_number_is_named",
    ],
    "3. Packed bits come back at every width and size; the bytes are written down": [
        "tests/artifact/test_packing.py",
        "tests/artifact/test_file.py::test_the_golden_file",
        "tests/artifact/test_file.py::test_the_golden_content_is_still_what_is_written",
    ],
    "4. Gradients of learned steps; none outside the range": [
        "tests/quant/test_learned.py::test_no_gradient_outside_the_range",
        "tests/quant/test_learned.py::test_lsq_gradients_are_those_of_the_papers",
    ],
    "5. A w4a4 network reads 16 levels but where the report says otherwise": [
        "tests/quant/test_student.py::test_a_w4a4_network_reads_16_levels_everywhere_but_at_its_ends",
        "tests/graph/test_summary.py::test_backbones_are_described_completely",
    ],
    "6. Folding BatchNorm and splitting PReLU change nothing": [
        "tests/graph/test_fold.py",
        "tests/graph/test_onnx_writer.py::test_a_prelu_is_split_exactly",
    ],
    "7. RCM and EKD: loops, gradients, thresholds, rotations, students that equal their teacher": [
        "tests/losses/test_rcm.py",
        "tests/losses/test_ekd.py",
    ],
    "8. An integer reference equals ONNX Runtime bit for bit; OpenVINO is near; no float is left over": [
        "tests/graph/test_onnx_writer.py",
        "tests/targets/test_openvino.py",
    ],
    "9. Two runs, workers, and the order on disk change nothing": [
        "tests/cli/test_same_again.py",
        "tests/training/test_loader.py",
        "tests/data/test_workers.py",
        "tests/data/test_faces.py::test_the_order_on_disk_never_matters",
    ],
    "10. Accuracy and TAR are those of loops and of scikit-learn; too small a FAR is refused": [
        "tests/evaluation/figures/test_folds.py",
        "tests/evaluation/figures/test_operating.py",
    ],
    "11. Thresholds hold on people who weren't there; the float network's on integers are reported": [
        "tests/evaluation/figures/test_operating.py::test_a_calibrated_threshold_holds_on_held_out_scores",
        "tests/evaluation/figures/test_thresholds.py",
    ],
    "12. Mixed galleries are in the report; another model's gallery is refused": [
        "tests/evaluation/test_evaluate.py",
        "tests/evaluation/test_gallery.py::test_another_model_is_refused",
        "tests/cli/test_galleries.py::test_other_models_are_kept_out",
    ],
    "13. One row for every image, failed ones too; unique scores; forks and spawned processes": [
        "tests/runtime/test_embedder.py::test_one_row_for_every_file",
        "tests/data/test_faces.py::test_batches_give_one_row_per_file",
        "tests/evaluation/figures/test_health.py",
        "tests/runtime/test_threads.py",
    ],
    "14. Models that have collapsed, and wrong preprocessing, raise an alarm": [
        "tests/evaluation/figures/test_health.py",
        "tests/analysis/test_preprocessing.py",
    ],
    "15. Killed at any moment, a folder stays readable; a training that goes on is bit-identical": [
        "tests/results/test_folder.py",
        "tests/training/test_loop.py::test_resumed_is_uninterrupted",
        "tests/cli/test_training.py::test_interrupted_and_resumed",
    ],
    "16. Disk full, no right to write, signals, two at once: one line and no half file": [
        "tests/artifact/test_file.py::test_a_failing_disk_leaves_the_old_file",
        "tests/cli/test_outputs.py",
        "tests/test_signals.py",
        "tests/results/test_locks.py",
    ],
    "17. Damaged and odd images are decoded by rule, or skipped, listed and limited": [
        "tests/data/test_images.py",
        "tests/data/test_faces.py::test_skipped_images_are_listed_and_limited",
        "tests/cli/test_bad_input.py::test_bad_images_are_counted_and_stop_the_run",
    ],
    "18. Bombs are refused before memory is taken": [
        "tests/data/test_images.py::test_bombs_are_refused_by_their_header",
        "tests/data/datasets/test_shards.py::test_bombs",
        "tests/data/datasets/test_parquet.py",
        "tests/backbones/test_state_dicts.py::test_weights_that_grow",
        "tests/test_limits.py",
    ],
    "19. Archives write nothing outside their folder": ["tests/data/datasets/test_shards.py"],
    "20. Weights, packs and ONNX files run nothing and read no other files": [
        "tests/backbones/test_inert_pickle.py",
        "tests/backbones/test_state_dicts.py::test_code_in_a_file_is_refused_and_not_executed",
        "tests/data/test_packs.py",
        "tests/graph/test_onnx_files.py",
    ],
    "21. Artifacts: capped, checked, no overlap, no hole": ["tests/artifact/test_hostile_files.py"],
    "22. YAML: safe, unknown keys, numbers in range": [
        "tests/test_config.py",
        "tests/quant/test_plan.py",
        "tests/inputs/test_recipes.py",
        "tests/inputs/test_suites.py",
    ],
    "23. Names are escaped in pages and tables; no face and no path in an artifact": [
        "tests/report/test_page.py",
        "tests/report/test_markup.py",
        "tests/cli/test_report.py",
        "tests/data/test_faces.py::test_the_list_of_skipped_images_is_harmless_in_a_spreadsheet",
        "tests/artifact/test_file.py::test_no_face_and_no_path_gets_into_the_file",
    ],
    "24. Memory doesn't grow with the data": [
        "tests/evaluation/test_memory.py",
        "tests/training/test_loader.py::test_teacher_embeddings_of_faces_on_disk_stay_on_disk",
        "tests/evaluation/test_gallery.py::test_scoring_an_int8_gallery_never_expands_it_whole",
        "tests/data/test_packs.py::test_memory_stays_bounded",
    ],
    "25. Latency: pinned, warmed up, in turns, no ratio of times that spread": [
        "tests/runtime/test_bench.py",
        "tests/runtime/test_relative_latency.py",
    ],
}

STANDARDS: Places = {
    "ISO/IEC 19795-1: FMR, FNMR and failures to acquire beside FAR and TAR": [
        "tests/evaluation/figures/test_match_errors.py",
        "tests/cli/test_galleries.py::test_failures_to_enrol_are_counted",
    ],
    "ISO/IEC 5152: extrapolated thresholds, with interval and mark": [
        "tests/evaluation/figures/test_extrapolate.py",
        "tests/cli/test_thresholds.py::test_an_extrapolated_threshold_says_so_everywhere",
    ],
    "Rule of 30: how many errors stand behind a figure": [
        "tests/evaluation/figures/test_match_errors.py::test_what_few_errors_say",
        "tests/evaluation/figures/test_match_errors.py::test_the_rule_of_3_is_the_bound_of_a_binomial",
    ],
    "ISO/IEC 19795-10: groups at one threshold, float against integer": [
        "tests/evaluation/test_group_spread.py",
        "tests/evaluation/test_groups.py",
    ],
    "ISO/IEC 24745: keys, encryption, deletion, renewal of templates": [
        "tests/evaluation/test_gallery_file.py",
        "tests/evaluation/test_keys.py",
        "tests/evaluation/test_rotation.py",
        "tests/cli/test_galleries.py",
    ],
    "ISO/IEC 30107-3: presentation attacks are “not tested” on every card": ["tests/report/test_annex_iv.py"],
    "EU AI Act, Annex IV: the card's points; caches of embeddings are listed, cleared, and their owner's": [
        "tests/report/test_annex_iv.py",
        "tests/test_store.py",
    ],
    "PEP 770: a bill of materials in the wheel, the same bytes twice": ["tests/release/test_wheel.py"],
}

GROUPS: dict[str, Places] = {"promise": PROMISES, "asked": ASKED, "standard": STANDARDS}


def places(only: str = "") -> list[str]:
    """Every file or test that is named, or that is named beside one, once; none in a file which is named whole."""
    chosen = [own for group in GROUPS.values() for own in group.values() if any(only in place for place in own)]
    named = {place for own in chosen for place in own}
    return sorted(place for place in named if "::" not in place or place.partition("::")[0] not in named)
