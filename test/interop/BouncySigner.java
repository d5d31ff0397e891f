import java.io.FileReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.util.List;
import org.bouncycastle.asn1.ASN1EncodableVector;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.smime.SMIMECapabilitiesAttribute;
import org.bouncycastle.asn1.smime.SMIMECapability;
import org.bouncycastle.asn1.smime.SMIMECapabilityVector;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;

/** Signs a file, detached, with SMIMECapabilities: algorithm, certificate, key (PEM), what is signed, where the signature goes. */
public final class BouncySigner {
    public static void main(String[] paths) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        X509CertificateHolder certificate = (X509CertificateHolder) new PEMParser(new FileReader(paths[1])).readObject();
        Object key = new PEMParser(new FileReader(paths[2])).readObject();
        SMIMECapabilityVector able = new SMIMECapabilityVector();
        able.addCapability(SMIMECapability.aES256_CBC);
        able.addCapability(SMIMECapability.aES128_CBC);
        ASN1EncodableVector attributes = new ASN1EncodableVector();
        attributes.add(new SMIMECapabilitiesAttribute(able));
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        generator.addSignerInfoGenerator(
            new JcaSimpleSignerInfoGeneratorBuilder()
                .setProvider(BouncyCastleProvider.PROVIDER_NAME)
                .setSignedAttributeGenerator(new AttributeTable(attributes))
                .build(paths[0], new JcaPEMKeyConverter().getPrivateKey((PrivateKeyInfo) key), certificate));
        generator.addCertificates(new JcaCertStore(List.of(certificate)));
        byte[] content = Files.readAllBytes(Path.of(paths[3]));
        Files.write(Path.of(paths[4]), generator.generate(new CMSProcessableByteArray(content)).getEncoded());
    }
}
