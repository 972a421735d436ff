// Does the model give the kit's golden values on this machine, bit by bit? C++17 and onnxruntime's C++ API, no more.
//
//   g++ -O2 -std=c++17 run.cpp -I ORT/include -L ORT/lib -lonnxruntime -Wl,-rpath,ORT/lib -o run
//   ./run [--kit DIR] [--threads N] [--runs N] [--outputs-only]
//
// ORT is the unpacked onnxruntime package of the device (the header onnxruntime_cxx_api.h lies in its include folder).
// Exit status: 0 every value is equal; 1 something differs (the first differing tensor is named); 2 it cannot be run.

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
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kWarmUp = 2;

using Bytes = std::vector<char>;

struct Type {
  ONNXTensorElementDataType id;
  size_t size;
  double (*value)(const char*);
};

template <typename T>
double Value(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return static_cast<double>(value);
}

const std::map<std::string, Type> kTypes = {
    {"bool", {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, 1, Value<uint8_t>}},
    {"float32", {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4, Value<float>}},
    {"float64", {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, 8, Value<double>}},
    {"int8", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, 1, Value<int8_t>}},
    {"int16", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, 2, Value<int16_t>}},
    {"int32", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 4, Value<int32_t>}},
    {"int64", {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 8, Value<int64_t>}},
    {"uint8", {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, 1, Value<uint8_t>}},
    {"uint16", {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, 2, Value<uint16_t>}},
    {"uint32", {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, 4, Value<uint32_t>}},
};

// CRC-32 as zlib and zip files have it.
uint32_t Crc32(const char* bytes, size_t size) {
  uint32_t value = 0xffffffffu;
  for (size_t i = 0; i < size; ++i) {
    value ^= static_cast<uint8_t>(bytes[i]);
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

// One tensor of the kit: a line of manifest.tsv.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;  // of one golden input, batch axis included
  std::vector<uint32_t> checks;  // CRC-32 of the values, one a golden input
  Bytes values;  // of all golden inputs; empty where only checksums are kept

  size_t Count() const {
    size_t count = 1;
    for (int64_t dimension : shape) count *= static_cast<size_t>(dimension);
    return count;
  }
  const Type& type() const { return kTypes.at(dtype); }
  size_t ByteCount() const { return Count() * type().size; }
};

struct Kit {
  int inputs = 0;
  Bytes model;
  Bytes probes;
  Entry input;
  std::vector<Entry> outputs;
  std::vector<Entry> tensors;
  std::vector<std::string> altered;  // files that are not those that the kit was written with
};

Entry ReadEntry(const std::vector<std::string>& fields, const std::string& folder) {
  Entry entry;
  entry.name = fields.at(1);
  entry.dtype = fields.at(2);
  for (const std::string& dimension : Split(fields.at(3), ',')) entry.shape.push_back(std::stoll(dimension));
  for (const std::string& check : Split(fields.at(4), ',')) {
    entry.checks.push_back(static_cast<uint32_t>(std::stoul(check)));
  }
  if (fields.at(5) != "-") entry.values = ReadFile(folder + fields[5]);
  return entry;
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
      kit.model = ReadFile(folder + fields.at(3));
      kit.probes = ReadFile(folder + fields.at(4));
    } else if (kind == "file") {
      const Bytes bytes = ReadFile(folder + fields.at(1));
      if (Crc32(bytes.data(), bytes.size()) != std::stoul(fields.at(3))) kit.altered.push_back(fields[1]);
    } else if (kind == "input") {
      kit.input = ReadEntry(fields, folder);
    } else if (kind == "output") {
      kit.outputs.push_back(ReadEntry(fields, folder));
    } else if (kind == "tensor") {
      kit.tensors.push_back(ReadEntry(fields, folder));
    }
  }
  return kit;
}

bool SameForm(const Ort::Value& value, const Entry& entry) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  return info.GetElementType() == entry.type().id && info.GetShape() == entry.shape;
}

// Whether type, shape and every bit are those of the golden tensor, by its checksum.
bool IsGolden(const Ort::Value& value, const Entry& entry, int index) {
  if (!SameForm(value, entry)) return false;
  const char* bytes = static_cast<const char*>(value.GetTensorRawData());
  return Crc32(bytes, entry.ByteCount()) == entry.checks.at(index);
}

// In words, how a tensor differs from its golden one; values can be counted only where they are stored.
std::string HowFar(const Ort::Value& value, const Entry& entry, int index) {
  if (!SameForm(value, entry)) return "has another type or shape";
  if (entry.values.empty()) return "differs";
  const char* got = static_cast<const char*>(value.GetTensorRawData());
  const char* golden = entry.values.data() + entry.ByteCount() * index;
  const Type& type = entry.type();
  size_t wrong = 0;
  double largest = 0;
  for (size_t at = 0; at < entry.ByteCount(); at += type.size) {
    if (std::memcmp(got + at, golden + at, type.size) == 0) continue;
    ++wrong;
    largest = std::max(largest, std::fabs(type.value(got + at) - type.value(golden + at)));
  }
  std::ostringstream text;
  text << wrong << " of " << entry.Count() << " values differ, the largest difference is " << largest;
  return text.str();
}

std::vector<Ort::Value> Run(Ort::Session& session, Kit& kit, int index, const std::vector<Entry>& wanted) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Entry& input = kit.input;
  char* bytes = kit.input.values.data() + input.ByteCount() * index;
  Ort::Value feed = Ort::Value::CreateTensor(memory, bytes, input.ByteCount(), input.shape.data(), input.shape.size(),
                                             input.type().id);
  const char* input_name = input.name.c_str();
  std::vector<const char*> names;
  for (const Entry& entry : wanted) names.push_back(entry.name.c_str());
  return session.Run(Ort::RunOptions{nullptr}, &input_name, &feed, 1, names.data(), names.size());
}

bool CheckOutputs(Ort::Session& session, Kit& kit) {
  bool passed = true;
  for (int index = 0; index < kit.inputs; ++index) {
    const std::vector<Ort::Value> values = Run(session, kit, index, kit.outputs);
    for (size_t i = 0; i < values.size(); ++i) {
      const bool same = IsGolden(values[i], kit.outputs[i], index);
      passed = passed && same;
      const std::string text = same ? "equal, bit by bit" : HowFar(values[i], kit.outputs[i], index);
      std::printf("input %d: %s: %s\n", index, kit.outputs[i].name.c_str(), text.c_str());
    }
  }
  return passed;
}

bool CheckInside(Ort::Session& session, Kit& kit) {
  bool passed = true;
  for (int index = 0; index < kit.inputs; ++index) {
    const std::vector<Ort::Value> values = Run(session, kit, index, kit.tensors);
    std::vector<size_t> wrong;
    for (size_t i = 0; i < values.size(); ++i) {
      if (!IsGolden(values[i], kit.tensors[i], index)) wrong.push_back(i);
    }
    if (wrong.empty()) {
      std::printf("input %d: %zu inner tensors equal, bit by bit\n", index, values.size());
      continue;
    }
    passed = false;
    std::printf("input %d: first diverging tensor: %s\n", index, kit.tensors[wrong[0]].name.c_str());
    std::printf("input %d:   %zu of %zu inner tensors differ\n", index, wrong.size(), values.size());
    for (size_t i : wrong) {
      if (kit.tensors[i].values.empty()) continue;
      const std::string text = HowFar(values[i], kit.tensors[i], index);
      std::printf("input %d:   %s: %s\n", index, kit.tensors[i].name.c_str(), text.c_str());
    }
  }
  return passed;
}

void Latency(Ort::Session& session, Kit& kit, int runs) {
  std::vector<double> times;
  for (int run = 0; run < kWarmUp + runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    Run(session, kit, 0, kit.outputs);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    if (run >= kWarmUp) times.push_back(elapsed.count());
  }
  std::sort(times.begin(), times.end());
  std::printf("latency: median %.2f ms, smallest %.2f ms (%d runs, batch 1)\n", times[times.size() / 2], times[0], runs);
}

int Main(int argc, char** argv) {
  std::string folder = ".";
  int threads = 0;
  int runs = 20;
  bool outputs_only = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--outputs-only") {
      outputs_only = true;
    } else if (i + 1 < argc && option == "--kit") {
      folder = argv[++i];
    } else if (i + 1 < argc && option == "--threads") {
      threads = std::stoi(argv[++i]);
    } else if (i + 1 < argc && option == "--runs") {
      runs = std::max(1, std::stoi(argv[++i]));
    } else {
      throw std::runtime_error("usage: run [--kit DIR] [--threads N] [--runs N] [--outputs-only]");
    }
  }
  const uint16_t endian = 1;
  char low;
  std::memcpy(&low, &endian, 1);
  if (low != 1) throw std::runtime_error("this program reads golden values on little-endian machines only");

  Kit kit = ReadKit(folder + "/");
  std::printf("onnxruntime %s\n", Ort::GetVersionString().c_str());
  for (const std::string& name : kit.altered) {
    std::printf("%s: not the file that the kit was written with (its CRC-32 differs)\n", name.c_str());
  }
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "kit");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(threads);
  Ort::Session session(env, kit.model.data(), kit.model.size(), options);
  bool passed = CheckOutputs(session, kit);
  if (!outputs_only) {
    // Two messages of protobuf, one after the other, are one: the same model with its inner tensors as outputs.
    Bytes probed = kit.model;
    probed.insert(probed.end(), kit.probes.begin(), kit.probes.end());
    Ort::Session probed_session(env, probed.data(), probed.size(), options);
    const bool inside = CheckInside(probed_session, kit);
    if (inside && !passed) {
      std::printf("the inner tensors are equal: the runtime fuses the plain model in another way, see README.md\n");
    }
    passed = passed && inside;
  }
  Latency(session, kit, runs);
  passed = passed && kit.altered.empty();
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
