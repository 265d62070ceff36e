# The public API: what is imported here is `bitface.NAME`, and imported when it is first used.

from .api.embedding import load
from .api.evaluation import Figures, evaluate, pairs, protocol
from .api.faces import FaceSet, faces
from .api.networks import load_network
from .api.students import plan_for, quantize, train
from .data.face_source import FaceSource
from .errors import BitfaceError, BitfaceWarning, UsageError
from .evaluation.gallery_file import GalleryFile
from .graph import Network
from .inputs.comparisons import read_comparison
from .inputs.suites import read_suite
from .jobs.analyse import AnalyseRequest, analyse_student
from .jobs.bench import bench_models
from .jobs.calibrate import CalibrateRequest, calibrate_model
from .jobs.compare import compare_candidates
from .jobs.datasets import check_dataset, describe_dataset, pack_dataset
from .jobs.demo import demo
from .jobs.distill import DistillRequest, distill_model
from .jobs.evaluate import EvaluateRequest, evaluate_model
from .jobs.export import export_model
from .jobs.inspect import inspect_model
from .jobs.people.align import AlignRequest, align_photographs
from .jobs.people.camera import CameraRequest, verify_camera
from .jobs.people.embed import EmbedRequest, embed_faces
from .jobs.people.enroll import EnrollRequest, enroll
from .jobs.people.gallery import GalleryRequest, change_gallery
from .jobs.people.identify import identify_images
from .jobs.people.vectors import EnrollVectorsRequest, enroll_vectors
from .jobs.people.verify import verify_images
from .jobs.pretrain import PretrainRequest, pretrain
from .jobs.prune import PruneRequest, prune_model
from .jobs.quantize import QuantizeRequest, quantize_model
from .jobs.report import ReportRequest, make_report
from .jobs.search import SearchRequest, search_plans
from .jobs.sensitivity import measure_sensitivity
from .jobs.suite import run_suite
from .jobs.synth import synthesize
from .losses import Loss
from .preprocess import Preprocess
from .prune import Pruning
from .quant import BitPlan, Calibration, Reconstruction
from .runtime import Embedder
from .runtime.quantized import QuantizedNetwork
from .search.budget import Budget
from .search.sweep import SensitivityRequest
from .store import Store
from .training import Method, Training

__version__: str

__all__ = [
    "AlignRequest",
    "AnalyseRequest",
    "BitPlan",
    "BitfaceError",
    "BitfaceWarning",
    "Budget",
    "CalibrateRequest",
    "Calibration",
    "CameraRequest",
    "DistillRequest",
    "EmbedRequest",
    "Embedder",
    "EnrollRequest",
    "EnrollVectorsRequest",
    "EvaluateRequest",
    "FaceSet",
    "FaceSource",
    "Figures",
    "GalleryFile",
    "GalleryRequest",
    "Loss",
    "Method",
    "Network",
    "Preprocess",
    "PretrainRequest",
    "PruneRequest",
    "Pruning",
    "QuantizeRequest",
    "QuantizedNetwork",
    "Reconstruction",
    "ReportRequest",
    "SearchRequest",
    "SensitivityRequest",
    "Store",
    "Training",
    "UsageError",
    "__version__",
    "align_photographs",
    "analyse_student",
    "bench_models",
    "calibrate_model",
    "change_gallery",
    "check_dataset",
    "compare_candidates",
    "demo",
    "describe_dataset",
    "distill_model",
    "embed_faces",
    "enroll",
    "enroll_vectors",
    "evaluate",
    "evaluate_model",
    "export_model",
    "faces",
    "identify_images",
    "inspect_model",
    "load",
    "load_network",
    "make_report",
    "measure_sensitivity",
    "pack_dataset",
    "pairs",
    "plan_for",
    "pretrain",
    "protocol",
    "prune_model",
    "quantize",
    "quantize_model",
    "read_comparison",
    "read_suite",
    "run_suite",
    "search_plans",
    "synthesize",
    "train",
    "verify_camera",
    "verify_images",
]
