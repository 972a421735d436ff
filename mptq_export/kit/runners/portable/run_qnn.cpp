// Is the model within the kit's tolerance on Qualcomm's HTP? C++17 and onnxruntime's C++ API (1.22 or newer), no more.
//
//   g++ -O2 -std=c++17 run_qnn.cpp -I ORT/include -L ORT/lib -lonnxruntime -Wl,-rpath,ORT/lib -o run_qnn
//   ./run_qnn --library libonnxruntime_providers_qnn.so --backend libQnnHtp.so
//             [--kit DIR] [--context] [--soc N] [--runs N]
//
// ORT is the unpacked onnxruntime package of the device, the two libraries are those of the package onnxruntime-qnn. For
// Android compile with the NDK's clang++ against the headers and the library in onnxruntime's AAR, and push all to one
// folder. --context runs the context binary of the kit in place of the model; --soc N is for Qualcomm's simulator alone.
// Exit status: 0 whole and within the tolerance; 1 beyond it, or HTP does not take the whole model; 2 it cannot be run.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

constexpr int kWarmUp = 2;
constexpr const char* kName = "qnn";

using Bytes = std::vector<char>;

const std::map<std::string, std::pair<ONNXTensorElementDataType, size_t>> kTypes = {
    {"float32", {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4}},
    {"uint8", {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, 1}},
};

// CRC-32 as zlib and zip files have it.
uint32_t Crc32(const Bytes& bytes) {
  uint32_t value = 0xffffffffu;
  for (char byte : bytes) {
    value ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) value = (value & 1u) ? (value >> 1) ^ 0xedb88320u : value >> 1;
  }
  return value ^ 0xffffffffu;
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

Bytes ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path);
  return Bytes(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

// A tensor of the kit: a line of manifest.tsv.
struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;  // of one golden input, batch axis included
  Bytes values;  // of all golden inputs
  bool logits = false;
  double rms = 0;  // the tolerance, see README.md
  double kl = 0;
  double lead = 0;

  size_t Count() const {
    size_t count = 1;
    for (int64_t dimension : shape) count *= static_cast<size_t>(dimension);
    return count;
  }
  size_t ByteCount() const { return Count() * kTypes.at(dtype).second; }
};

struct Kit {
  int inputs = 0;
  std::string model;
  std::string context = "-";
  std::string soc = "-";
  Tensor input;
  std::vector<Tensor> outputs;
  std::vector<std::string> altered;  // files that are not those that the kit was written with
};

Tensor ReadTensor(const std::vector<std::string>& fields, const std::string& folder) {
  Tensor tensor;
  tensor.name = fields.at(1);
  tensor.dtype = fields.at(2);
  for (const std::string& dimension : Split(fields.at(3), ',')) tensor.shape.push_back(std::stoll(dimension));
  tensor.values = ReadFile(folder + fields.at(4));
  if (fields.size() > 5) {
    tensor.logits = fields[5] == "logits";
    tensor.rms = std::stod(fields.at(6));
    if (tensor.logits) {
      tensor.kl = std::stod(fields.at(7));
      tensor.lead = std::stod(fields.at(8));
    }
  }
  return tensor;
}

Kit ReadKit(const std::string& folder) {
  Kit kit;
  std::ifstream stream(folder + "manifest.tsv");
  if (!stream) throw std::runtime_error("cannot read " + folder + "manifest.tsv; name the kit with --kit DIR");
  for (std::string line; std::getline(stream, line);) {
    const std::vector<std::string> fields = Split(line, '\t');
    const std::string& kind = fields.at(0);
    if (kind == "kit") {
      kit.inputs = std::stoi(fields.at(2));
      kit.model = fields.at(3);
      kit.context = fields.at(4);
      kit.soc = fields.at(5);
    } else if (kind == "file") {
      if (Crc32(ReadFile(folder + fields.at(1))) != std::stoul(fields.at(3))) kit.altered.push_back(fields[1]);
    } else if (kind == "input") {
      kit.input = ReadTensor(fields, folder);
    } else if (kind == "output") {
      kit.outputs.push_back(ReadTensor(fields, folder));
    }
  }
  return kit;
}

std::vector<double> LogSoftmax(const float* logits, size_t count) {
  const double most = *std::max_element(logits, logits + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(logits[i] - most);
  std::vector<double> found(count);
  for (size_t i = 0; i < count; ++i) found[i] = logits[i] - most - std::log(sum);
  return found;
}

// Whether one output of one input is within its tolerance; prints what was found.
bool Judge(const Ort::Value& value, const Tensor& tensor, int index) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  std::printf("input %d: %s: ", index, tensor.name.c_str());
  if (info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || info.GetShape() != tensor.shape) {
    std::printf("BEYOND the tolerance: has another type or shape\n");
    return false;
  }
  const size_t count = tensor.Count();
  const float* found = value.GetTensorData<float>();
  std::vector<float> golden(count);
  std::memcpy(golden.data(), tensor.values.data() + tensor.ByteCount() * index, tensor.ByteCount());
  double mean = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(found[i])) {
      std::printf("BEYOND the tolerance: holds values that are no numbers\n");
      return false;
    }
    mean += (static_cast<double>(found[i]) - golden[i]) / static_cast<double>(count);
  }
  if (!tensor.logits) mean = 0;
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += std::pow(static_cast<double>(found[i]) - golden[i] - mean, 2);
  const double rms = std::sqrt(squares / static_cast<double>(count));
  bool fits = rms <= tensor.rms;
  std::ostringstream words;
  words << "rms of the difference " << rms << " (at most " << tensor.rms << ")";
  if (tensor.logits) {
    const std::vector<double> p = LogSoftmax(golden.data(), count);
    const std::vector<double> q = LogSoftmax(found, count);
    double kl = 0;
    for (size_t i = 0; i < count; ++i) kl += std::exp(p[i]) * (p[i] - q[i]);
    fits = fits && kl <= tensor.kl;
    const size_t first = std::max_element(golden.begin(), golden.end()) - golden.begin();
    const bool same = first == static_cast<size_t>(std::max_element(found, found + count) - found);
    double lead = INFINITY;
    for (size_t i = 0; i < count; ++i) {
      if (i != first) lead = std::min(lead, static_cast<double>(golden[first]) - golden[i]);
    }
    fits = fits && (same || lead <= tensor.lead);
    words << ", KL " << std::max(0.0, kl) << " (at most " << tensor.kl << "), top-1 " << (same ? "equal" : "differs");
  }
  std::printf("%s the tolerance: %s\n", fits ? "within" : "BEYOND", words.str().c_str());
  return fits;
}

std::vector<Ort::Value> Run(Ort::Session& session, Kit& kit, int index) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Tensor& input = kit.input;
  char* bytes = input.values.data() + input.ByteCount() * index;
  Ort::Value feed = Ort::Value::CreateTensor(memory, bytes, input.ByteCount(), input.shape.data(), input.shape.size(),
                                             kTypes.at(input.dtype).first);
  const char* input_name = input.name.c_str();
  std::vector<const char*> names;
  for (const Tensor& output : kit.outputs) names.push_back(output.name.c_str());
  return session.Run(Ort::RunOptions{nullptr}, &input_name, &feed, 1, names.data(), names.size());
}

// A session on HTP; with `whole` onnxruntime refuses to leave any node to the CPU.
std::unique_ptr<Ort::Session> Open(Ort::Env& env, const Bytes& model,
                                   const std::unordered_map<std::string, std::string>& provider, bool whole) {
  std::vector<Ort::ConstEpDevice> devices;
  for (const Ort::ConstEpDevice& device : env.GetEpDevices()) {
    if (devices.empty() && std::string(device.EpName()) == kName) devices.push_back(device);
  }
  if (devices.empty()) throw std::runtime_error("the plugin finds no device of QNN here");
  Ort::SessionOptions options;
  options.AddConfigEntry("session.disable_cpu_ep_fallback", whole ? "1" : "0");
  options.AppendExecutionProvider_V2(env, devices, provider);
  return std::make_unique<Ort::Session>(env, model.data(), model.size(), options);
}

int Main(int argc, char** argv) {
  std::string folder = ".";
  std::string library;
  std::string backend;
  std::string soc;
  bool context = false;
  int runs = 20;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--context") {
      context = true;
    } else if (i + 1 < argc && option == "--kit") {
      folder = argv[++i];
    } else if (i + 1 < argc && option == "--library") {
      library = argv[++i];
    } else if (i + 1 < argc && option == "--backend") {
      backend = argv[++i];
    } else if (i + 1 < argc && option == "--soc") {
      soc = argv[++i];
    } else if (i + 1 < argc && option == "--runs") {
      runs = std::stoi(argv[++i]);
    } else {
      throw std::runtime_error("usage: run_qnn --library FILE --backend FILE [--kit DIR] [--context] [--soc N] [--runs N]");
    }
  }
  if (library.empty() || backend.empty()) throw std::runtime_error("--library and --backend are needed, see run_qnn.cpp");
  const uint16_t endian = 1;
  char low;
  std::memcpy(&low, &endian, 1);
  if (low != 1) throw std::runtime_error("this program reads golden values on little-endian machines only");

  Kit kit = ReadKit(folder + "/");
  if (context && kit.context == "-") throw std::runtime_error("the kit has no context binary");
  if (context && soc.empty()) soc = kit.soc;
  std::printf("onnxruntime %s, QNN\n", Ort::GetVersionString().c_str());
  for (const std::string& name : kit.altered) {
    std::printf("%s: not the file that the kit was written with (its CRC-32 differs)\n", name.c_str());
  }
  bool passed = kit.altered.empty();

  Ort::Env env(ORT_LOGGING_LEVEL_FATAL, "kit");
  env.RegisterExecutionProviderLibrary(kName, library);
  // Codes at the borders are made on HTP too, so that nothing is left to the CPU.
  std::unordered_map<std::string, std::string> provider = {{"backend_path", backend},
                                                           {"offload_graph_io_quantization", "0"}};
  if (!soc.empty()) provider["soc_model"] = soc;
  const Bytes model = ReadFile(folder + "/" + (context ? kit.context : kit.model));
  std::unique_ptr<Ort::Session> session;
  bool whole = true;
  try {
    session = Open(env, model, provider, true);
  } catch (const Ort::Exception& error) {
    std::printf("not whole: %s\n", error.what());
    whole = false;
    session = Open(env, model, provider, false);
  }
  for (int index = 0; index < kit.inputs; ++index) {
    const std::vector<Ort::Value> values = Run(*session, kit, index);
    for (size_t i = 0; i < values.size(); ++i) passed = Judge(values[i], kit.outputs[i], index) && passed;
  }
  std::vector<double> times;
  for (int run = 0; runs > 0 && run < kWarmUp + runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    Run(*session, kit, 0);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    if (run >= kWarmUp) times.push_back(elapsed.count());
  }
  std::sort(times.begin(), times.end());
  if (!times.empty()) {
    std::printf("latency: median %.2f ms, smallest %.2f ms (%d runs, batch 1)\n", times[times.size() / 2], times[0],
                runs);
  }
  std::printf(whole ? "whole: no node is left to the CPU\n" : "NOT WHOLE: the CPU computes a part\n");
  passed = passed && whole;
  std::printf(passed ? "PASS\n" : "FAIL\n");
  return passed ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
