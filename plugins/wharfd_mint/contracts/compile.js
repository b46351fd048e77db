// Write LicenseNft.json (ABI and bytecode) from LicenseNft.sol. See README.md for how to run it.
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const source = fs.readFileSync(path.join(__dirname, "LicenseNft.sol"), "utf8");
const input = {
  language: "Solidity",
  sources: { "LicenseNft.sol": { content: source } },
  settings: {
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { LicenseNft: ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const error of output.errors ?? []) console.error(error.formattedMessage);
const contract = output.contracts["LicenseNft.sol"].LicenseNft;
const result = { compiler: solc.version(), abi: contract.abi, bytecode: "0x" + contract.evm.bytecode.object };
fs.writeFileSync(path.join(__dirname, "LicenseNft.json"), JSON.stringify(result, null, 1) + "\n");
