// node verify.js TRUSTED_ROOT BUNDLE IDENTITY: npm's own verifier on our files. Prints the signer's identity.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const modules = join(process.env.NPM_PREFIX, 'node_modules', '@sigstore');
const { bundleFromJSON } = require(join(modules, 'bundle'));
const { TrustedRoot } = require(join(modules, 'protobuf-specs'));
const { Verifier, toSignedEntity, toTrustMaterial } = require(join(modules, 'verify'));

const [rootPath, bundlePath, identity] = process.argv.slice(2);
const json = (path) => JSON.parse(readFileSync(path, 'utf8'));
const trust = toTrustMaterial(TrustedRoot.fromJSON(json(rootPath)));
try {
  const entity = toSignedEntity(bundleFromJSON(json(bundlePath)));
  const signer = new Verifier(trust).verify(entity, { subjectAlternativeName: identity });
  console.log(signer.identity.subjectAlternativeName);
} catch (error) {
  console.error(`${error.code}: ${error.message}`);
  process.exit(1);
}
